// Who is logged in, and whether the broker can be reached.

import { call, get, post, setCsrf, whenLoginRequired } from './api.js';

export const session = $state({
  // loading: not asked yet; login: the login page; in: everything else.
  stage: 'loading',
  user: null,
  role: 'viewer',
  open: false,
  get admin() { return this.role === 'admin'; },
});

function enter(login) {
  setCsrf(login.csrf);
  Object.assign(session, { user: login.user, role: login.role, open: login.open, stage: 'in' });
}

function leave() {
  setCsrf(null);
  session.stage = 'login';
}

whenLoginRequired(leave);

/** Asks who we are; tries again until the broker answers. */
export async function begin() {
  try {
    enter(await get('session'));
  } catch (problem) {
    if (problem.status === 401 || problem.status === 403) leave();
    else setTimeout(begin, 1000);
  }
}

export async function logIn(user, password) {
  enter(await post('session', { user, password }));
}

export async function logOut() {
  await call('DELETE', 'session');
  leave();
}
