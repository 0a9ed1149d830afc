// What a person would see at a glance and a script can see too: text that is cut off or runs over its neighbour, things that
// stick out of the window, more sizes of type than a page needs, a window that is mostly empty.
import { must } from './harness.mjs';

const SIZES_MAX = 9;

/** Fails with every fault of how `page` looks. */
export async function looks(page, what) {
  let { faults, sizes } = await page.evaluate(judge);
  // Charts take their places a moment after their values; what stays wrong is wrong.
  for (let more = 10; more > 0 && faults.length > 0; more -= 1) {
    await page.waitForTimeout(300);
    ({ faults, sizes } = await page.evaluate(judge));
  }
  must(faults.length === 0, `${what} looks wrong:\n${faults.slice(0, 12).join('\n')}`);
  must(sizes.length <= SIZES_MAX, `${what} has ${sizes.length} sizes of type: ${sizes.join(', ')}`);
}

// Runs in the page.
function judge() {
  const faults = [];
  const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const name = (element) => `${element.tagName.toLowerCase()}.${[...element.classList].filter((one) => !one.startsWith('svelte')).join('.')} “${element.textContent.trim().slice(0, 40)}”`;
  const sizes = new Set();
  const lines = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const holder = node.parentElement;
    if (node.data.trim() === '' || !seen(holder) || holder.closest('.hidden, script, style, option, svg') !== null) continue;
    const style = getComputedStyle(holder);
    sizes.add(Number.parseFloat(style.fontSize));
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (box.width === 0 || box.height === 0) continue;
    // What may cut it: it must say so with an ellipsis, or scroll.
    const clips = clipped(holder, box);
    if (clips !== null) faults.push(`${name(holder)} is cut off by ${clips}`);
    else if (reachable(holder, box) && !scrolls(holder)) lines.push({ holder, box });
  }
  // Over each other: text whose boxes meet, and that nothing scrolls or covers.
  for (const [at, one] of lines.entries()) {
    for (const other of lines.slice(at + 1)) {
      const wide = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const high = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
      if (wide > 2 && high > 4 && !one.holder.contains(other.holder) && !other.holder.contains(one.holder) && layer(one.holder) === layer(other.holder)) {
        faults.push(`${name(one.holder)} lies over ${name(other.holder)}`);
      }
    }
  }
  const width = document.documentElement.clientWidth;
  for (const element of document.querySelectorAll('button, input, select, a, h1, h2, .card')) {
    const box = element.getBoundingClientRect();
    if (!seen(element) || box.width === 0 || element.closest('.table-box, .hidden') !== null || element.matches('.hidden') || scrolls(element)) continue;
    if (box.right > width + 1 || box.left < -1) faults.push(`${name(element)} sticks out of the window: ${Math.round(box.left)} to ${Math.round(box.right)} of ${width}`);
  }
  for (const drawn of document.querySelectorAll('.card svg, .card canvas, .card img, .card .button')) {
    const [box, card] = [drawn.getBoundingClientRect(), drawn.closest('.card').getBoundingClientRect()];
    if (!seen(drawn) || box.width === 0 || scrolls(drawn)) continue;
    if (box.right > card.right + 1 || box.left < card.left - 1) faults.push(`${drawn.tagName} sticks out of ${name(drawn.closest('.card'))}`);
  }
  const [inner, outer] = [document.getElementById('main').scrollWidth, document.getElementById('main').clientWidth];
  if (inner > outer) faults.push(`the page is ${inner - outer} px wider than its place`);
  // What is in sight is used: something begins in each third of the height.
  const main = document.getElementById('main');
  const below = [...main.querySelectorAll('*')].filter(seen).map((element) => element.getBoundingClientRect().bottom);
  if (Math.max(...below) < main.getBoundingClientRect().top + main.clientHeight * 0.25) faults.push('three quarters of the page are empty');
  return { faults, sizes: [...sizes].sort((a, b) => a - b) };

  function clipped(element, box) {
    for (let at = element; at !== null && at !== document.body; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.overflowX === 'visible') continue;
      if (style.overflowX !== 'hidden' && style.overflowX !== 'clip') return null;
      const edge = at.getBoundingClientRect();
      const over = Math.max(box.right - edge.right, edge.left - box.left, style.overflowY === 'hidden' ? box.bottom - edge.bottom : 0);
      if (style.textOverflow === 'ellipsis') return null;
      if (over > 1.5) return name(at);
    }
    return null;
  }

  function scrolls(element) {
    for (let at = element; at !== null && at.id !== 'main'; at = at.parentElement) {
      if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(at).overflowX)) return true;
    }
    return false;
  }

  function reachable(element, box) {
    return box.right > 0 && box.left < document.documentElement.clientWidth && box.bottom > 0 && box.top < innerHeight;
  }

  function layer(element) {
    return element.closest('dialog, [role=menu], .toasts, header, .side, .tile, .uplot') ?? document.body;
  }
}
