"""Certificates for the servers of a test: a throw-away authority and what it signs.

Keys are never meant for anything but a test run; they are written unencrypted, readable by the owner only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALIDITY = timedelta(days=7)
"""Longer than any soak test, short enough that a leaked lab key is worth nothing next week."""

CLOCK_SKEW = timedelta(minutes=5)
"""How far behind the clock of a virtual machine may be and still find a certificate valid."""


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, both PEM files."""

    cert_file: Path
    key_file: Path


class Authority:
    """A certificate authority whose files live in one folder.

    Args:
        folder: Where ``ca.crt`` and everything issued is written; it is made.
        name: The authority's common name.
    """

    def __init__(self, folder: Path, name: str = "foremesh lab") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        usage = _key_usage(key_cert_sign=True, crl_sign=True)
        certificate = (
            _builder(self.name, self.name, self._key.public_key())
            .add_extension(constraints, critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.cert_file = folder / "ca.crt"
        self.cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, common_name: str, *, dns: Sequence[str] = (), ips: Sequence[str] = (), organization: str | None = None
    ) -> KeyPair:
        """Issue a certificate good for a server and for a client.

        Args:
            common_name: The subject; also the name of the files.
            dns: DNS names a server is reached by.
            ips: Addresses a server is reached by, IPv4 or IPv6.
            organization: The subject's organization; Kubernetes reads it as a group.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [*map(x509.DNSName, dns), *(x509.IPAddress(ip_address(ip)) for ip in ips)]
        builder = (
            _builder(_name(common_name, organization), self.name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        stem = common_name.replace("/", "_").replace(":", "_")
        pair = KeyPair(self.folder / f"{stem}.crt", self.folder / f"{stem}.key")
        pair.cert_file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        write_key(key, pair.key_file)
        return pair


def write_key(key: ec.EllipticCurvePrivateKey, path: Path) -> None:
    """Write a private key as unencrypted PKCS#8 PEM, readable by its owner only."""
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _name(common_name: str, organization: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALIDITY)
    )


def _key_usage(**allowed: bool) -> x509.KeyUsage:
    usages = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{usage: allowed.get(usage, False) for usage in usages.split()})
