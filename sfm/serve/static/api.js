// Calls of the server; what it refuses is an Error with its one line.

export async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer; is `sfm serve` still running?");
  }
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ?? `the server said ${answer.status}`);
  return body;
}

const known = new Map();

export function get(path) {
  if (!known.has(path)) {
    const asked = call(path);
    asked.catch(() => known.delete(path));
    known.set(path, asked);
  }
  return known.get(path);
}

export const post = (path, body) =>
  call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export async function base64(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

// Numbers of an array: nested lists, or float32 in base64.
export function numbers(entry) {
  if (entry.f32 === undefined) return [entry.value].flat(Infinity);
  const bytes = Uint8Array.from(atob(entry.f32), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
