# SPDX-License-Identifier: Apache-2.0
"""A certificate's subject as Windows spells it in a package's manifest ([MS-OSCO], CertNameToStr). No writer's code."""

from __future__ import annotations

from asn1crypto import x509 as asn1_x509

from signwright.errors import FormatError

_LABELS = {"email_address": "E", "common_name": "CN", "surname": "SN", "serial_number": "SERIALNUMBER"}
_LABELS |= {"country_name": "C", "locality_name": "L", "state_or_province_name": "S", "street_address": "STREET"}
_LABELS |= {"organization_name": "O", "organizational_unit_name": "OU", "title": "T", "given_name": "G"}
_LABELS |= {"initials": "I", "domain_component": "DC", "postal_code": "PostalCode", "dn_qualifier": "dnQualifier"}
_BY_NUMBER = {"2.5.4.13": "Description", "2.5.4.18": "POBox", "2.5.4.20": "Phone", "2.5.4.24": "X21Address"}


def subject_text(certificate: bytes) -> str:
    """The subject as manifests spell it: last name first, labels of [MS-OSCO], quotes where a value needs them."""
    try:
        subject = asn1_x509.Certificate.load(certificate, strict=True).subject.chosen
        names = [[(pair["type"], pair["value"].native) for pair in name] for name in subject]
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as problem:
        raise FormatError("certificate: its subject does not parse") from problem
    texts = []
    for name in reversed(names):
        pairs = []
        for kind, value in name:
            label = _LABELS.get(kind.native) or _BY_NUMBER.get(kind.dotted) or f"OID.{kind.dotted}"
            if not isinstance(value, str):
                raise FormatError("certificate: a name in its subject is no text")
            if not value or value[0].isspace() or value[-1].isspace() or set(value) & set(',+="\r\n<>#;'):
                value = '"' + '""'.join(value.split('"')) + '"'
            pairs.append(f"{label}={value}")
        texts.append(" + ".join(pairs))
    return ", ".join(texts)
