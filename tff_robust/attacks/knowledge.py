"""What an adversary may see of a round before it answers; free of TensorFlow."""

# honest_messages: every honest client's message as sent, differential-privacy noise
#   included: the omniscient adversary of Xie, Koyejo and Gupta (UAI 2019).
# honest_clean: every honest client's message before its noise was added, as if the
#   adversary read the clients' memories.
HONEST = ('honest_messages', 'honest_clean')
# own_messages: only what the compromised clients would have sent honestly, with their
#   noise: colluders who see nobody else.
# own_clean: the same before the noise.
OWN = ('own_messages', 'own_clean')
ALL = HONEST + OWN
# For attacks that read no message: their own have the shape of what they send.
LEAST = OWN[:1]
