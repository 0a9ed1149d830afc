// Light, dark, or what the system says; kept in this browser.

const KEY = 'cork.theme';
const dark = window.matchMedia('(prefers-color-scheme: dark)');
const stored = localStorage.getItem(KEY);

export const theme = $state({
  choice: ['light', 'dark'].includes(stored) ? stored : 'system',
  // What is shown: charts on canvas read their colours anew when it changes.
  shown: 'light',
});

function apply() {
  theme.shown = theme.choice === 'system' ? (dark.matches ? 'dark' : 'light') : theme.choice;
  document.documentElement.dataset.theme = theme.shown;
}

dark.addEventListener('change', apply);
apply();

/** Goes from what is shown to the other one. */
export function toggleTheme() {
  theme.choice = theme.shown === 'dark' ? 'light' : 'dark';
  localStorage.setItem(KEY, theme.choice);
  apply();
}

/** The value of a custom property now, for what draws on a canvas. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
