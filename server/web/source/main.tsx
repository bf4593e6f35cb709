/** The page: who may see it, and which part of it is shown. */
import { effect } from "@preact/signals";
import { render } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Compare } from "./Compare";
import { Detail } from "./Detail";
import { Models } from "./Models";
import { Now } from "./Now";
import { Pictures } from "./Pictures";
import { ServerPage } from "./ServerPage";
import { reload } from "./pictures";
import { chosen, client, comparing, connection, forgetRunning, page, shown, toast, type Page } from "./state";

const PAGES: [Page, string][] = [
  ["pictures", "Pictures"],
  ["models", "Models"],
  ["server", "Server"],
];

function pageOf(hash: string): Page {
  return PAGES.find(([name]) => hash === `#${name}`)?.[0] ?? "pictures";
}

page.value = pageOf(location.hash);
addEventListener("hashchange", () => (page.value = pageOf(location.hash)));

let wasConnected = false;
effect(() => {
  const connected = connection.value.phase === "connected";
  if (connected && !wasConnected) reload();
  if (!connected && wasConnected) forgetRunning();
  wasConnected = connected;
});

function Head() {
  return (
    <header class="head">
      <a class="name" href="#pictures">
        <img src="./icon.svg" alt="" width="26" height="26" />
        Brushwire
      </a>
      <nav aria-label="Pages">
        {PAGES.map(([name, title]) => (
          <a key={name} href={`#${name}`} aria-current={page.value === name ? "page" : undefined}>
            {title}
          </a>
        ))}
      </nav>
      <Connection />
    </header>
  );
}

function Connection() {
  const state = connection.value;
  const words = { connected: "Connected", connecting: "Connecting…", refused: "Not connected", closed: "Closed" }[state.phase];
  return (
    <p class={`connection ${state.phase}`} role="status">
      <span class="dot" aria-hidden="true" />
      {words}
    </p>
  );
}

/** What is shown instead of the pages where the server does not let this window in. */
function Refused() {
  const state = connection.value;
  if (state.phase !== "refused") return null;
  const displaced = state.problem.code === "displaced";
  return (
    <main class="refused">
      <h1>{displaced ? "The gallery is open in another window" : "This window needs an invitation"}</h1>
      <p>{displaced ? "One window at a time can use this session." : "The gallery opens for people who can use this computer's Brushwire, and for nobody else."}</p>
      {displaced ? (
        <button class="primary" onClick={() => client.reconnect()}>
          Use it here
        </button>
      ) : (
        <p>
          Run <code>brushwire gallery</code> in a terminal; it opens this page anew.
        </p>
      )}
    </main>
  );
}

function App() {
  const main = useRef<HTMLElement>(null);
  const current = page.value;
  useEffect(() => {
    document.title = `${PAGES.find(([name]) => name === current)![1]} · Brushwire`;
  }, [current]);
  if (connection.value.phase === "refused") {
    return (
      <>
        <Head />
        <Refused />
      </>
    );
  }
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>
        Skip to the content
      </a>
      <Head />
      <main id="main" ref={main} tabIndex={-1}>
        {current === "pictures" && (
          <>
            <h1 class="unseen">Pictures</h1>
            <Now />
            <Pictures />
          </>
        )}
        {current === "models" && <Models />}
        {current === "server" && <ServerPage />}
      </main>
      {shown.value !== null && <Detail id={shown.value} key={shown.value} />}
      {comparing.value && chosen.value.length === 2 && <Compare ids={[chosen.value[0]!, chosen.value[1]!]} />}
      <p class={`toast ${toast.value ? "visible" : ""}`} role="status">
        {toast.value}
      </p>
    </>
  );
}

render(<App />, document.getElementById("app")!);
