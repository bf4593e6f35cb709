/** How the server is. */
import { useEffect, useState } from "preact/hooks";
import { sizeOf } from "./Models";
import { client, connection, waitingCount } from "./state";

interface Status {
  waiting: number;
  running: string[];
  devices: string[];
  sessions: number;
  connections: number;
  store_bytes: number;
  store_quota: number;
  version: string;
  address: string;
  uptime: number;
}

const EVERY = 3000;

export function ServerPage() {
  const [status, setStatus] = useState<Status | null>(null);
  const connected = connection.value.phase === "connected";
  useEffect(() => {
    if (!connected) return;
    const ask = () => void client.query<Status>("status").then(setStatus, () => {});
    ask();
    const timer = setInterval(ask, EVERY);
    return () => clearInterval(timer);
  }, [connected, waitingCount.value]);
  if (status === null) return <p class="quiet">Loading…</p>;
  const full = status.store_bytes / status.store_quota;
  return (
    <section class="sheet">
      <h1>Server</h1>
      <dl class="health">
        <Fact name="State" value={connected ? (status.devices.length ? "Ready to paint" : "The painter is starting") : "Not connected"} />
        <Fact name="Painting on" value={status.devices.join(", ") || "–"} />
        <Fact name="Jobs" value={`${status.running.length} painted now, ${status.waiting} waiting`} />
        <Fact name="Clients" value={`${status.connections} connected`} />
        <Fact name="Running for" value={duration(status.uptime)} />
        <Fact name="Version" value={status.version} />
        <Fact name="Address" value={status.address} />
      </dl>
      <h2>Pictures on the disk</h2>
      <progress class="store" max={1} value={full} aria-label="How full the store is" />
      <p class="quiet">
        {sizeOf(status.store_bytes)} of {sizeOf(status.store_quota)}. When it is full, the oldest pictures make room for new ones.
      </p>
    </section>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
