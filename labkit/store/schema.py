"""The tables of the store; what must be unique is so by the database's own rule."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from labkit.model import INTERNET_VLAN

VERSION = 1
APPLICATION_ID = 0x6C61626B  # "labk": tells a store from other programs' databases

metadata = MetaData()

slices = Table(
    "slices",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("key", Text, nullable=False, unique=True),
    Column("uuid", Text, nullable=False, unique=True),
    Column("wish", Text, nullable=False),
    Column("version", Integer, nullable=False),
)

vms = Table(
    "vms",
    metadata,
    Column("vm_id", Integer, primary_key=True, autoincrement=False),
    Column("slice_id", ForeignKey("slices.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("index", Integer, nullable=False),
    Column("uuid", Text, nullable=False, unique=True),
    Column("vnc_port", Integer, nullable=False),
    Column("mac_prefix", Text, nullable=False, unique=True),
    Column("address", Text, unique=True),
    Column("overlay", Text, nullable=False, unique=True),
    Column("memory_mb", Integer, nullable=False),
    Column("disk_gb", Float, nullable=False),
    Column("position", Integer, nullable=False),
    Column("leaving", Integer, nullable=False),
    UniqueConstraint("host", "vnc_port"),
    UniqueConstraint("slice_id", "index"),
    CheckConstraint("vm_id BETWEEN 0 AND 65535"),
    Index(
        "one_wished_vm_per_name", "slice_id", "name", unique=True, sqlite_where=text("leaving=0")
    ),
)

vlan_pools = Table(
    "vlan_pools",
    metadata,
    Column("first", Integer, primary_key=True, autoincrement=False),
    Column("slice_id", ForeignKey("slices.id", ondelete="CASCADE"), nullable=False),
)

links = Table(
    "links",
    metadata,
    Column("link_id", Integer, primary_key=True, autoincrement=False),
    Column("slice_id", ForeignKey("slices.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("vlan", Integer, nullable=False, unique=True),
    Column("position", Integer, nullable=False),
    Column("leaving", Integer, nullable=False),
    CheckConstraint(f"vlan BETWEEN 1 AND 4094 AND vlan <> {INTERNET_VLAN}"),
    Index(
        "one_wished_link_per_name", "slice_id", "name", unique=True, sqlite_where=text("leaving=0")
    ),
)

# Who works on a slice. The token changes with every owner, so that one who was taken over notices.
leases = Table(
    "leases",
    metadata,
    Column("slice_id", ForeignKey("slices.id", ondelete="CASCADE"), primary_key=True),
    Column("token", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("beat", Float, nullable=False),
)

# How long steps took on this machine, for telling how long they will; kept when slices go.
durations = Table(
    "durations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False, index=True),
    Column("seconds", Float, nullable=False),
)

# What was about to be done, by whom; `ended` is empty while nobody knows whether it was.
intents = Table(
    "intents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("slice_id", ForeignKey("slices.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("begun", Float, nullable=False),
    Column("ended", Float),
    Column("outcome", Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)
