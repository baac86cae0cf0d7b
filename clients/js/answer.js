/** What the events of a stream add up to. */
export const newAnswer = () => ({ status: "queued", blocks: [], error: null });

export const textOf = ({ blocks }) => blocks.map(({ kind, text }) => (kind === "text" ? text : "")).join("");

export function applyEvent(answer, { type, ...event }) {
  if (type === "start") {
    answer.model = event.model;
  } else if (type === "attempt") {
    answer.status = "running";
  } else if (type === "block_start") {
    Object.assign(blockOf(answer, event.block), event);
  } else if (type === "delta") {
    const block = blockOf(answer, event.block);
    for (const field of ["text", "json", "signature"]) {
      block[field] += event[field] ?? "";
    }
  } else if (type === "block_stop") {
    blockOf(answer, event.block).complete = true;
  } else if (type === "reset") {
    answer.blocks = answer.blocks.filter(({ block }) => block < event.keep_blocks);
    answer.error = null;
  } else if (type === "error") {
    answer.error = event;
  } else if (type === "end") {
    Object.assign(answer, event);
  }
}

function blockOf({ blocks }, number) {
  let found = blocks.find(({ block }) => block === number);
  if (!found) {
    found = { block: number, kind: "text", text: "", json: "", signature: "", complete: false };
    blocks.push(found);
    blocks.sort((one, other) => one.block - other.block);
  }
  return found;
}
