// Short messages at the edge of the page: what was done, or why not.

export const toasts = $state([]);
let next = 0;

function show(kind, text) {
  const id = next++;
  toasts.push({ id, kind, text });
  if (toasts.length > 4) toasts.shift();
  setTimeout(() => dismiss(id), kind === 'bad' ? 9000 : 3500);
}

export function dismiss(id) {
  const at = toasts.findIndex((toast) => toast.id === id);
  if (at !== -1) toasts.splice(at, 1);
}

export const said = (text) => show('good', text);
export const failed = (problem) => show('bad', problem.message ?? String(problem));

/** Does `action`; says `done` when it worked, and what went wrong when not. Resolves to whether it worked. */
export async function attempt(action, done) {
  try {
    await action();
    if (done) said(done);
    return true;
  } catch (problem) {
    failed(problem);
    return false;
  }
}
