/** A window over the page: the platform's own dialog keeps the focus in and gives it back. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Cross } from "./Now";

export function Dialog({ title, class: kind = "", onClose, children }: { title: string; class?: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current!.showModal();
    document.documentElement.classList.add("still");
    return () => document.documentElement.classList.remove("still");
  }, []);
  return (
    <dialog ref={dialog} class={kind} aria-label={title} onClose={onClose} onClick={(event) => event.target === dialog.current && dialog.current?.close()}>
      <div class="inside">
        <button class="icon close" aria-label="Close" onClick={() => dialog.current!.close()}>
          <Cross />
        </button>
        {children}
      </div>
    </dialog>
  );
}
