// Who is looking: a token is exchanged for a cookie that scripts cannot read.
import { change, Failure } from './api.js';
import { $, put } from './dom.js';

let signedIn = () => {};

/** Asks for a token. then is called when the server has taken it. */
export function ask(then, why = '') {
  signedIn = then;
  if (why) put($('sign-text'), why);
  if (!$('sign-dialog').open) $('sign-dialog').showModal();
}

/** Gives the cookie back. */
export const leave = () => change('api/session', {}, 'DELETE');

$('sign-dialog').addEventListener('cancel', (event) => event.preventDefault()); // there is nothing to see without
$('sign-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  put($('sign-error'), '');
  try {
    await change('api/session', { token: $('token').value.trim() });
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    put($('sign-error'), failure.status === 401 ? 'The server does not know this token. Look at how the program was started.' : failure.message);
    $('token').select();
    return;
  }
  $('token').value = '';
  $('sign-dialog').close();
  signedIn();
});
