"""Several nodes on one PostgreSQL database: a server of the harness's own, a relay before it, a balancer before them.

One server (fsync on) serves all seeds of a run, a database for each. Each node reaches it through a relay of its own,
by which its connections can be cut, held or refused. The DPI connects to the balancer, which asks the nodes in turn and
takes the first that accepts the connection.

The journal's own history is kept by triggers (schema `chaos`), in the commits that it is about and with the server's
clock, which is the harness's: which node had which delivery in hand from when, when it was taken from it, when a node
joined and left. Nothing in the product knows of them.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from chaos.cluster import GatewayNode, Held, settings
from chaos.disk import Disk
from chaos.history import SERVER, Final, Left, Record, Stopped, TakenOver
from chaos.scenario import EVERY, HEARTBEAT, NODE_TIMEOUT, Fault, Plan
from chaos.server import USER, Server, programs
from chaos.wire import Balancer, Relay
from gateway.exchange.delivery import FINAL, sql_list
from gateway.journal.postgres import make_engine
from gateway.journal.postgres_schema import upgrade
from gateway.settings import JournalSettings

NODES = 2
TEMPLATE = "chaos_template"
ANSWERED_WITHIN = 10.0
"""As of `chaos.sqlite`."""
_WATCH = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.node (token TEXT PRIMARY KEY, name TEXT, born FLOAT, died FLOAT);
CREATE TABLE chaos.claim (delivery_id BIGINT, token TEXT, at FLOAT);
CREATE TABLE chaos.taken (delivery_id BIGINT, at FLOAT);
CREATE FUNCTION chaos.now() RETURNS FLOAT LANGUAGE sql AS 'SELECT extract(epoch FROM clock_timestamp())::FLOAT';
CREATE FUNCTION chaos.joined() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO chaos.node VALUES (NEW.token, NEW.name, chaos.now(), NULL); RETURN NULL; END $$;
CREATE FUNCTION chaos.gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  UPDATE chaos.node SET died = chaos.now() WHERE token = OLD.token; RETURN NULL; END $$;
CREATE FUNCTION chaos.claimed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO chaos.claim VALUES (NEW.id, NEW.claimed_by, chaos.now()); RETURN NULL; END $$;
CREATE FUNCTION chaos.taken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO chaos.taken VALUES (NEW.delivery_id, chaos.now()); RETURN NULL; END $$;
CREATE TRIGGER chaos_joined AFTER INSERT ON node FOR EACH ROW EXECUTE FUNCTION chaos.joined();
CREATE TRIGGER chaos_gone AFTER DELETE ON node FOR EACH ROW EXECUTE FUNCTION chaos.gone();
CREATE TRIGGER chaos_claimed AFTER UPDATE ON delivery FOR EACH ROW
  WHEN (NEW.claimed_by IS NOT NULL AND OLD.claimed_by IS DISTINCT FROM NEW.claimed_by)
  EXECUTE FUNCTION chaos.claimed();
CREATE TRIGGER chaos_taken AFTER INSERT ON attempt FOR EACH ROW WHEN (NEW.kind = 'recovery')
  EXECUTE FUNCTION chaos.taken();
"""
_OPEN = f"""
SELECT (SELECT count(*) FROM delivery WHERE state NOT IN ({sql_list(FINAL)}))
     + (SELECT count(*) FROM message WHERE state = 'received' AND abs(received_at - %s) < %s)"""
_FINALS = """
SELECT coalesce(m.control_id, ''), d.destination, d.recipient, d.action, d.state,
       coalesce((SELECT array_agg(uid) FROM delivery_document dd WHERE dd.delivery_id = d.id), '{}')
  FROM delivery d LEFT JOIN message m ON m.id = d.message_id ORDER BY d.id"""
_NAMES = """
SELECT d.id, coalesce(m.control_id, ''), d.destination, d.recipient
  FROM delivery d LEFT JOIN message m ON m.id = d.message_id"""
_END_CONNECTIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = %s AND application_name = 'segur-gateway' AND client_port = ANY(%s)"""


class PostgresEngine:
    """See `chaos.cluster.Engine`."""

    nodes = NODES

    def __init__(self) -> None:
        self._folder = Path()
        self._started: Server | None = None
        self._starting: asyncio.Task[None] | None = None

    @property
    def server(self) -> Server:
        """The one that `start` made."""
        assert self._started is not None
        return self._started

    async def start(self) -> None:
        """A server, and a database with the journal's schema to copy for each seed."""
        found = programs()
        if found is None:
            raise RuntimeError("PostgreSQL is not installed")
        # not in the run's folder: the server's user must reach it
        self._folder = Path(tempfile.mkdtemp(prefix="segur-chaos-"))
        self._starting = asyncio.create_task(asyncio.to_thread(self._start, found))
        await asyncio.shield(self._starting)

    def _start(self, bin_folder: Path) -> None:
        # what is committed without waiting for the disk stays in memory for long: a crash loses it, and it shows
        server = Server(bin_folder, self._folder, fsync=True, wal_writer_delay="10s")
        server.start()
        self.use(server)

    def use(self, server: Server) -> None:
        """Make the database to copy on a server that runs."""
        self._started = server
        with closing(self.server.connect(autocommit=True)) as c:
            c.execute(f"CREATE DATABASE {TEMPLATE}")
        engine = make_engine(
            JournalSettings.model_validate(self.journal(self.server.port, TEMPLATE)), 1, reading=False
        )
        upgrade(engine)
        engine.dispose()
        with closing(self.server.connect(TEMPLATE, autocommit=True)) as c:
            c.execute(_WATCH)

    async def stop(self) -> None:
        """End the server, also one whose start was given up."""
        if self._starting is not None:
            await asyncio.wait((self._starting,))
        if self._started is not None:
            await asyncio.to_thread(self._started.stop)
            shutil.rmtree(self._folder, ignore_errors=True)

    def journal(self, port: int, database: str) -> dict[str, Any]:
        """The gateway's settings `[journal]`, by way of `port`."""
        return {
            "url": f"postgresql://{USER}@127.0.0.1:{port}/{database}",
            "password_file": str(self.server.password_file),
            "writers": 4,
            "heartbeat": HEARTBEAT,
            "node_timeout": NODE_TIMEOUT,
        }

    def cluster(
        self,
        plan: Plan,
        directory: Path,
        connectors: Mapping[str, Mapping[str, Any]],
        library: Path | None,
    ) -> PostgresCluster:
        """A database of its own."""
        return PostgresCluster(self, plan, directory, connectors, library)


class PostgresCluster:
    """See `chaos.cluster.Cluster`."""

    nodes = NODES
    door: int | None = None

    def __init__(
        self,
        engine: PostgresEngine,
        plan: Plan,
        directory: Path,
        connectors: Mapping[str, Mapping[str, Any]],
        library: Path | None,
    ) -> None:
        self._engine, self._server = engine, engine.server
        self._directory, self._connectors, self._library = directory, connectors, library
        self._skew = plan.skew
        self._database = f"seed_{plan.seed}"
        self._seen: Callable[[Record], None] = lambda record: None
        self._relays: list[Relay] = []
        self._nodes: list[GatewayNode] = []
        self._disks: list[Disk] = []
        self._prefers = plan.prefers
        self._balancer = Balancer(self._ports, in_turn=plan.prefers is None)
        self._node_of: dict[str, int] = {}
        """Process id, as in the name of a node in the journal → node."""
        self._standing = asyncio.Lock()
        self._down = False

    async def open(self, seen: Callable[[Record], None]) -> None:
        """The database, the relays before it and the balancer before the nodes."""
        self._seen = seen

        def create() -> None:
            with closing(self._server.connect(autocommit=True)) as c:
                c.execute(f"CREATE DATABASE {self._database} TEMPLATE {TEMPLATE}")

        await asyncio.to_thread(create)
        for n in range(NODES):
            relay = Relay(f"database {n}", self._server.port, seen)
            await relay.start()
            self._relays.append(relay)
            journal = self._engine.journal(relay.port, self._database)
            folder = self._directory / f"node-{n}"
            self._nodes.append(GatewayNode(folder, settings(self._connectors) | {"journal": journal}))
            if self._library is not None:
                # no file of the journal is there: the clock alone is spoilt
                (folder / "none").mkdir()
                self._disks.append(Disk(self._library, folder / "none", folder / "clock", self._skew[n]))
        await self._balancer.start()
        self.door = self._balancer.port

    async def launch(self, node: int, kill_at: str = "") -> None:
        """Start it."""
        environment = self._disks[node].environment() if self._disks else {}
        own = self._nodes[node]
        try:
            await own.launch({"SEGUR_KILL_AT": kill_at} | environment)
        finally:
            if own.process is not None:
                self._node_of[str(own.process.pid)] = node

    async def ended(self, node: int) -> int:
        """Its exit status."""
        return await self._nodes[node].ended()

    def signal(self, node: int, number: int) -> None:
        """To its process."""
        self._nodes[node].signal(number)

    def running(self, node: int) -> bool:
        """It lives."""
        return self._nodes[node].running()

    def waited(self, node: int) -> float:
        """Of its process."""
        return self._nodes[node].waited()

    def port(self, node: int) -> int:
        """Its MLLP port."""
        return self._nodes[node].port

    def disk(self, node: int) -> Disk | None:
        """Its clock."""
        return self._disks[node] if self._disks else None

    def power_cut(self, node: int) -> int:
        """What is lost is lost by the server (`power_off`)."""
        return 0

    def held(self, node: int) -> Held | None:
        """From the database, which goes on; what the node had in hand is in `shared`, at its instant."""
        try:
            return Held((), self._acknowledged())
        except psycopg.Error:
            return Held((), None)

    def open_work(self) -> int:
        """Beside the running gateways."""
        try:
            with closing(self._connect()) as c:
                row = c.execute(_OPEN, (time.time(), ANSWERED_WITHIN)).fetchone()
                return int(row[0]) if row else 1
        except psycopg.Error:
            return 1

    def finals(self) -> list[Final]:
        """Every delivery."""
        with closing(self._connect()) as c:
            return [Final(m, d, r, a, s, tuple(u)) for m, d, r, a, s, u in c.execute(_FINALS)]

    def shared(self) -> list[Left | TakenOver]:
        """As the triggers noted it."""
        with closing(self._connect()) as c:
            nodes = c.execute("SELECT token, name, born, died FROM chaos.node ORDER BY born").fetchall()
            claims = c.execute("SELECT delivery_id, at, token FROM chaos.claim ORDER BY at").fetchall()
            taken = c.execute("SELECT delivery_id, at FROM chaos.taken ORDER BY at").fetchall()
            names = {i: tuple(rest) for i, *rest in c.execute(_NAMES)}
        number = {token: self._node_of.get(name.rpartition(" ")[2], SERVER) for token, name, *_ in nodes}
        back = {
            token: next((b for _t, other, b, _d in nodes if other == name and b > born), None)
            for token, name, born, _died in nodes
        }
        made: list[Left | TakenOver] = [
            Left(born, died, number[token], back[token])
            for token, _n, born, died in nodes
            if died is not None
        ]
        in_hand: dict[int, list[tuple[float, str]]] = defaultdict(list)
        for delivery, at, token in claims:
            in_hand[delivery].append((at, token))
        for delivery, at in taken:
            claimed, token = next(c for c in reversed(in_hand[delivery]) if c[0] < at)
            again = next((c[0] for c in in_hand[delivery] if c[0] > at), None)
            made.append(TakenOver(claimed, at, again, number[token], back[token], *names[delivery]))
        return made

    async def strike(self, fault: Fault) -> None:
        """See `scenario.DATABASE_KINDS`."""
        relay = self._relays[fault.node]
        match fault.kind:
            case "server":
                for _ in range(fault.count):
                    await self._crash("server", fault.seconds)
                    await asyncio.sleep(EVERY)
            case "database_cut":
                relay.cut(fault.direction, fault.count)
            case "database_kill":
                await asyncio.to_thread(self._end_connections, relay.ports())
            case "database_hold" | "database_down":
                (relay.hold if fault.kind == "database_hold" else relay.refuse)()
                await asyncio.sleep(fault.seconds)
                relay.release()

    async def power_off(self) -> None:
        """The server's part of a power cut."""
        await self._crash("power_cut", random.uniform(0, 1))

    async def _crash(self, how: str, seconds: float) -> None:
        """The server falls, is down for `seconds` and comes back; what it kept is read."""
        async with self._standing:
            at, self._down = time.time(), True
            await asyncio.to_thread(self._server.crash)
            await asyncio.sleep(seconds)
            await self._stand_up()
            kept = await asyncio.to_thread(self._acknowledged)
        self._seen(Stopped(at, SERVER, how, "the database", (), kept))

    async def _stand_up(self) -> None:
        await asyncio.to_thread(self._server.start)
        self._down = False

    async def calm(self) -> None:
        """The server stands, and everybody reaches it."""
        for relay in self._relays:
            relay.calm()
        async with self._standing:
            if self._down:
                await self._stand_up()

    async def finish(self) -> None:
        """Kill what is left."""
        await self._balancer.stop()
        for node in self._nodes:
            await node.finish()
        for relay in self._relays:
            await relay.stop()
        for disk in self._disks:
            disk.close()

    async def close(self, keep: Path | None) -> None:
        """Drop the database; `keep`: its text goes there (without the payloads), and the server's log."""

        def close() -> None:
            if keep is not None:
                self._server.dump(self._database, keep / "journal.sql")
                shutil.copy(self._server.log, keep / "postgres.log")
            with closing(self._server.connect(autocommit=True)) as c:
                c.execute(f"DROP DATABASE IF EXISTS {self._database} WITH (FORCE)")

        await asyncio.to_thread(close)

    # --- inside ---------------------------------------------------------------------------------------------

    def _ports(self) -> list[int]:
        """Of the nodes that may be asked, the preferred one first."""
        order = sorted(range(len(self._nodes)), key=lambda n: n != self._prefers)
        return [self._nodes[n].port for n in order if self._nodes[n].port and self._nodes[n].running()]

    def _acknowledged(self) -> tuple[str, ...]:
        with closing(self._connect()) as c:
            return tuple(r[0] for r in c.execute("SELECT control_id FROM message WHERE ack_code = 'AA'"))

    def _end_connections(self, ports: list[int]) -> None:
        try:
            with closing(self._connect()) as c:
                c.execute(_END_CONNECTIONS, (self._database, ports))
        except psycopg.OperationalError:
            pass  # the server fell at the same time

    def _connect(self) -> psycopg.Connection[Any]:
        return self._server.connect(self._database, autocommit=True, connect_timeout=30)
