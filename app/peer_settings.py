"""The settings of what this node talks to: destinations and their rules, TLS, who may send, and how much."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from app.setting_types import AETitle, File, Frozen, Host, PeerPort

DESTINATION_KINDS = ("c-store", "stow-rs")
Network = IPv4Network | IPv6Network


class ServerTls(Frozen):
    """TLS of the Storage SCP: 1.2 or later, and a client without a certificate of `client_ca_file` is turned away.

    certificate_file, key_file: what this node shows, PEM. client_ca_file: who vouches for clients, PEM.
    """

    certificate_file: File
    key_file: File
    client_ca_file: File


class ClientTls(Frozen):
    """TLS towards a destination, 1.2 or later, its certificate and host name checked.

    ca_file: who vouches for the destination, PEM; None: the authorities of the system.
    certificate_file, key_file: what this node shows if it is asked, PEM; both or neither.
    """

    ca_file: File | None = None
    certificate_file: File | None = None
    key_file: File | None = None

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together: give both or neither")
        return self


class DeliveryRule(Frozen):
    """Which results a destination gets; an empty list leaves that question open.

    modalities: Modality of the source. engines: what segmented it. calling_ae_titles: who sent it.
    """

    modalities: tuple[str, ...] = ()
    engines: tuple[Literal["spinefm", "spineps"], ...] = ()
    calling_ae_titles: tuple[AETitle, ...] = ()


class _AnyDestination(Frozen):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    profile: Literal["standard", "ohif"] = "standard"
    when: DeliveryRule = DeliveryRule()


class Destination(_AnyDestination):
    """A peer that receives results by C-STORE.

    profile: what its viewer needs to show them.
    when: which results go there.
    tls: None: the plain protocol.
    proof: how it is asked whether it keeps them; `auto` takes what it offers, Storage Commitment first; with
        `none` its statuses are believed.
    commitment_minutes: how long `auto` waits for the report of a Storage Commitment before it takes C-FIND.
    """

    kind: Literal["c-store"] = "c-store"
    ae_title: AETitle
    host: Host
    port: PeerPort
    tls: ClientTls | None = None
    proof: Literal["auto", "storage-commitment", "c-find", "none"] = "auto"
    commitment_minutes: Annotated[float, Field(gt=0, le=10_080)] = 20.0

    @property
    def where(self) -> str:
        """Its address, in words."""
        return f"{self.ae_title} at {self.host}:{self.port}"


class WebDestination(_AnyDestination):
    """A DICOMweb origin server that receives results by STOW-RS.

    url: of the service, before `/studies`.
    token_file: holds a bearer token; read anew for each delivery, so that it may be renewed.
    user, password_file: basic authentication instead.
    tls: of an https URL; None: the authorities of the system, and no certificate of this node.
    proof: `qido-rs` asks back by QIDO-RS, and so does `auto`; with `none` its answers are believed.
    """

    kind: Literal["stow-rs"]
    url: Annotated[str, Field(pattern=r"^https?://\S+$")]
    token_file: File | None = None
    user: Annotated[str, Field(pattern=r"^[^:]+$")] | None = None
    password_file: File | None = None
    tls: ClientTls | None = None
    proof: Literal["auto", "qido-rs", "none"] = "auto"

    @property
    def where(self) -> str:
        """Its address, in words."""
        return self.url

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if not urlsplit(self.url).hostname or "@" in urlsplit(self.url).netloc:
            raise ValueError("the URL needs a host, and no user name: credentials lie in files")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together: give both or neither")
        if self.token_file is not None and self.user is not None:
            raise ValueError("a token and a user are two ways to log in: choose one")
        if self.tls is not None and not self.url.startswith("https:"):
            raise ValueError("tls wants an https URL")
        return self


class AccessRule(Frozen):
    """Who may send to one called AE title; an empty list lets anybody in that respect.

    called: the title under which this node is called; None: its own.
    addresses: networks such as 10.0.0.0/24, or single addresses.
    """

    called: AETitle | None = None
    calling_ae_titles: tuple[AETitle, ...] = ()
    addresses: tuple[Network, ...] = ()


class Limits(Frozen):
    """What the Storage SCP bears; beyond it, it declines and goes on.

    associations: at once; associations_per_address: of those of one address.
    connections: open at once, those included that have not asked for anything yet; connections_per_address: likewise.
    in_flight_mib: of large data sets that are unfinished; in_flight_per_address_mib: likewise.
    request_s: how long a connection may take to ask for an association.
    idle_s: how long an association may be silent.
    instance_mib: largest data set. minimum_free_mib: below this free space nothing more is taken (0xA700).
    """

    associations: Annotated[int, Field(ge=1, le=256)] = 32
    connections: Annotated[int, Field(ge=1, le=512)] = 64
    associations_per_address: Annotated[int, Field(ge=1, le=256)] = 24
    connections_per_address: Annotated[int, Field(ge=1, le=512)] = 48
    in_flight_mib: Annotated[int, Field(ge=1)] = 8192
    in_flight_per_address_mib: Annotated[int, Field(ge=1)] = 4096
    request_s: Annotated[float, Field(gt=0, le=600)] = 30.0
    idle_s: Annotated[float, Field(gt=0, le=86400)] = 300.0
    instance_mib: Annotated[int, Field(ge=1, le=65536)] = 2048
    minimum_free_mib: Annotated[int, Field(ge=0)] = 1024


def kind_of(destination: object) -> str:
    """Return the kind of a destination as it stands in the settings: C-STORE unless another is named."""
    default = DESTINATION_KINDS[0]
    named = destination.get("kind", default) if isinstance(destination, Mapping) else getattr(destination, "kind", "")
    return str(named)
