/** The grid of everything that was painted. Only what is in sight is in the page, so ten thousand cost what fifty do. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { chosen, comparing, connection, shown } from "./state";
import { entryAt, filter, models, search, thumbnail, total, version, type Entry } from "./pictures";

const GAP = 14;
const SMALLEST = 176;
/** Rows that are drawn beyond the edges. */
const SPARE = 2;

export function Pictures() {
  return (
    <section class="pictures" aria-label="What was painted">
      <Filters />
      <Grid />
      <Choice />
    </section>
  );
}

function Filters() {
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const { model, days } = filter.value;
  const count = total.value;
  const later = (text: string) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => search({ search: text }), 80);
  };
  return (
    <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
      <label class="search">
        <span class="unseen">Search in prompts and models</span>
        <input type="search" placeholder="Search prompts" value={filter.value.search} onInput={(event) => later(event.currentTarget.value)} />
      </label>
      <label>
        <span class="unseen">Model</span>
        <select value={model} onChange={(event) => search({ model: event.currentTarget.value })}>
          <option value="">All models</option>
          {models.value.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label>
        <span class="unseen">Date</span>
        <select value={days} onChange={(event) => search({ days: Number(event.currentTarget.value) })}>
          <option value={0}>Any time</option>
          <option value={1}>Last day</option>
          <option value={7}>Last 7 days</option>
          <option value={30}>Last 30 days</option>
          <option value={365}>Last year</option>
        </select>
      </label>
      <p class="quiet count" role="status">
        {count === null ? "" : count === 1 ? "1 picture" : `${count.toLocaleString("en")} pictures`}
      </p>
    </form>
  );
}

interface View {
  width: number;
  top: number;
  height: number;
}

function Grid() {
  const grid = useRef<HTMLUListElement>(null);
  const [view, setView] = useState<View>({ width: 0, top: 0, height: 0 });
  const [focused, setFocused] = useState(0);
  const moved = useRef(false);
  const count = total.value ?? 0;
  void version.value;

  useLayoutEffect(() => {
    const measure = () => {
      const box = grid.current!.getBoundingClientRect();
      setView({ width: box.width, top: Math.max(0, -box.top), height: innerHeight });
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(grid.current!);
    addEventListener("scroll", measure, { passive: true });
    addEventListener("resize", measure);
    return () => {
      observer.disconnect();
      removeEventListener("scroll", measure);
      removeEventListener("resize", measure);
    };
  }, []);

  const columns = Math.max(2, Math.floor((view.width + GAP) / (SMALLEST + GAP)));
  const side = (view.width - GAP * (columns - 1)) / columns;
  const pitch = side + GAP;
  const rows = Math.ceil(count / columns);
  const first = Math.max(0, Math.floor(view.top / pitch) - SPARE);
  const last = Math.min(rows, Math.ceil((view.top + view.height) / pitch) + SPARE);
  const place = Math.min(focused, Math.max(0, count - 1));

  useEffect(() => {
    if (!moved.current) return;
    const tile = grid.current?.querySelector<HTMLElement>(`[data-index="${place}"] .open`);
    tile?.focus();
    moved.current = tile === undefined || tile === null; // it is still on its way
  });

  const move = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor(view.height / pitch) - 1) * columns;
    const steps: Record<string, number> = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: page, PageUp: -page, Home: -count, End: count,
    };
    const step = steps[event.key];
    if (step === undefined || count === 0) return;
    event.preventDefault();
    const next = Math.min(count - 1, Math.max(0, place + step));
    moved.current = true;
    setFocused(next);
    const top = grid.current!.getBoundingClientRect().top + scrollY + Math.floor(next / columns) * pitch;
    if (top < scrollY + 90 || top + side > scrollY + innerHeight) scrollTo({ top: top - innerHeight / 3 });
  };

  const tiles = [];
  if (view.width > 0) {
    for (let index = first * columns; index < Math.min(count, last * columns); index++) {
      const entry = entryAt(index);
      tiles.push(
        <li
          key={entry?.id ?? `place-${index}`}
          class="tile"
          data-index={index}
          aria-setsize={count}
          aria-posinset={index + 1}
          style={{ width: `${side}px`, height: `${side}px`, transform: `translate(${(index % columns) * pitch}px, ${Math.floor(index / columns) * pitch}px)` }}
        >
          {entry && <Tile entry={entry} tab={index === place} onFocus={() => setFocused(index)} />}
        </li>,
      );
    }
  }
  return (
    <>
      <ul class="grid" ref={grid} style={{ height: `${Math.max(0, rows * pitch - GAP)}px` }} onKeyDown={move} aria-label="Pictures, the newest first">
        {tiles}
      </ul>
      {count === 0 && connection.value.phase === "connected" && total.value !== null && <Empty />}
    </>
  );
}

function Empty() {
  const { search: words, model, days } = filter.value;
  return words || model || days ? (
    <p class="empty">Nothing that was painted fits this search.</p>
  ) : (
    <div class="empty">
      <p>Nothing was painted yet.</p>
      <p class="quiet">
        Paint from a plugin, or from a terminal: <code>brushwire generate "a boat on a calm lake"</code>
      </p>
    </div>
  );
}

function Tile({ entry, tab, onFocus }: { entry: Entry; tab: boolean; onFocus: () => void }) {
  const url = useThumbnail(entry);
  const isChosen = chosen.value.includes(entry.id);
  const title = entry.prompt || entry.kind;
  return (
    <>
      <button class="open" tabIndex={tab ? 0 : -1} onFocus={onFocus} onClick={() => (shown.value = entry.id)} aria-label={title}>
        {url ? <img src={url} alt="" draggable={false} /> : <span class="stand-in">{entry.thumbnail ? "" : entry.kind}</span>}
        <span class="caption" aria-hidden="true">
          {title}
        </span>
      </button>
      <button class="choose" tabIndex={tab ? 0 : -1} aria-pressed={isChosen} aria-label={`Choose ${title} to compare`} onFocus={onFocus} onClick={() => toggle(entry.id)}>
        <svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">
          <path d="M3.5 8.5l3 3 6-7" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" />
        </svg>
      </button>
    </>
  );
}

function useThumbnail(entry: Entry): string | null {
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    let wanted = true;
    if (entry.thumbnail) thumbnail(entry.thumbnail).then((found) => wanted && setUrl(found), () => {});
    return () => void (wanted = false);
  }, [entry.id, entry.thumbnail !== undefined]);
  return url;
}

function toggle(id: string): void {
  const others = chosen.value.filter((other) => other !== id);
  chosen.value = others.length < chosen.value.length ? others : [...others, id].slice(-2);
}

function Choice() {
  if (chosen.value.length === 0) return null;
  return (
    <div class="choice" role="status">
      <p>{chosen.value.length === 1 ? "Choose another picture to compare with." : "Two pictures are chosen."}</p>
      <button onClick={() => (chosen.value = [])}>Clear</button>
      <button class="primary" disabled={chosen.value.length < 2} onClick={() => (comparing.value = true)}>
        Compare
      </button>
    </div>
  );
}
