/** What is painted and what waits: progress, previews, and a way to end it. */
import { client, dismiss, running, type Running } from "./state";

export function Now() {
  const jobs = [...running.value.values()].sort((a, b) => rank(a) - rank(b) || a.created - b.created);
  if (jobs.length === 0) return null;
  return (
    <section class="now" aria-labelledby="now-title">
      <h2 id="now-title">Now</h2>
      <ul>
        {jobs.map((job) => (
          <Card key={job.id} job={job} />
        ))}
      </ul>
    </section>
  );
}

const rank = (job: Running) => ["running", "accepted", "failed"].indexOf(job.state);

function Card({ job }: { job: Running }) {
  const title = job.prompt || job.kind;
  const part = job.steps ? job.step / job.steps : 0;
  return (
    <li class={`card ${job.state}`} data-job={job.id}>
      <div class="preview">{job.preview ? <img src={job.preview} alt={`Preview of ${title}`} /> : <span class="brush" aria-hidden="true" />}</div>
      <div class="words">
        <p class="title" title={title}>
          {title}
        </p>
        <p class="quiet">
          {job.kind}
          {job.client && ` from ${job.client}`}
        </p>
        {job.state === "failed" ? (
          <p class="problem">
            {job.sentence} {job.remedy}
          </p>
        ) : (
          <>
            <progress aria-label={`Progress of ${title}`} max={1} {...(job.state === "running" && job.steps ? { value: part } : { value: job.state === "accepted" ? 0 : undefined })} />
            <p class="quiet">{phaseOf(job)}</p>
          </>
        )}
      </div>
      {job.state === "failed" ? (
        <button class="icon" aria-label={`Dismiss ${title}`} onClick={() => dismiss(job.id)}>
          <Cross />
        </button>
      ) : (
        <button class="icon" aria-label={`Cancel ${title}`} title="Cancel" onClick={() => client.cancel(job.id)}>
          <Cross />
        </button>
      )}
    </li>
  );
}

function phaseOf(job: Running): string {
  if (job.state === "accepted") return "Waiting";
  const steps = job.steps ? `, ${job.step} of ${job.steps}` : "";
  const left = job.eta === null ? "" : `, ${Math.max(1, Math.round(job.eta))} s left`;
  const phase = job.phase || "starting";
  return phase[0]!.toUpperCase() + phase.slice(1) + steps + left;
}

export function Cross() {
  return (
    <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d="M4 4l8 8M12 4l-8 8" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" />
    </svg>
  );
}
