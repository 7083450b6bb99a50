"""The flags that name the certificates of one side of a TLS connection between machines."""

from absl import flags

from tff_robust.runtime import secure_channels


def define_flags(side: str, flag_values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines --tls_authority, --tls_certificate and --tls_key.

  Args:
    side: Whose certificate and key they are, for `--help`.
    flag_values: Where they are defined.
  """
  for name, what in (
    ('authority', 'certificate of the authority that both sides trust'),
    ('certificate', f"{side}'s certificate"),
    ('key', f"{side}'s private key"),
  ):
    flags.DEFINE_string(f'tls_{name}', None, f'PEM file with the {what}.', flag_values=flag_values)


def tls_from_flags(
  flag_values: flags.FlagValues = flags.FLAGS,
) -> secure_channels.TlsFiles | None:
  """Returns the certificates that the flags name, or None where they name none.

  Raises:
    ValueError: If only some are given, or a file does not exist.
  """
  return secure_channels.tls_files(
    authority=flag_values['tls_authority'].value,
    certificate=flag_values['tls_certificate'].value,
    key=flag_values['tls_key'].value,
  )
