// The JSON API of ops/admin. All addresses are relative, so the page works below any path. The cookie of the session goes along by itself.

/** Why a request failed. status 0: there was no answer. */
export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: 'no-store', credentials: 'same-origin', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Failure(0, 'The server does not answer.');
  }
  if (!response.ok) throw new Failure(response.status, await reason(response));
  return response;
}

async function reason(response) {
  const text = await response.text().catch(() => '');
  try {
    const { error } = JSON.parse(text);
    if (typeof error === 'string') return error;
  } catch { /* not JSON: the text itself is the reason */ }
  return text.trim().slice(0, 300) || `The server answers with status ${response.status}.`;
}

/** What is at a path, parsed. query are its parameters; those that are empty are left out. */
export async function get(path, query = {}, signal = undefined) {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== '' && value !== undefined));
  const response = await request(search.size ? `${path}?${search}` : path, { signal });
  try {
    return await response.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Failure(0, 'The answer of the server broke off.');
  }
}

/** Asks for a change. Another site cannot send this header: a browser would ask the server first. */
export async function change(path, body = {}, method = 'POST') {
  const headers = { 'Content-Type': 'application/json', 'X-Sockmill-Admin': '1' };
  await request(path, { method, headers, ...(method === 'POST' && { body: JSON.stringify(body) }) });
}
