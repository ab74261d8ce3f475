// The indicator pages without this script are whole: it only opens in place what is a page of its own.
// The list behind a figure opens in a dialog; another month, establishment or trend replaces the page's content.

const inPlace = 'main';

async function fetched(url) {
  const answer = await fetch(url, { credentials: 'same-origin' });
  // a session that is over is sent to the login page: go there for good
  if (!answer.ok || (answer.redirected && new URL(answer.url).pathname !== new URL(url, location.href).pathname)) {
    return null;
  }
  return answer.text();
}

// --- another month, another trend ---------------------------------------------------------------------------------

let latest = 0;

async function show(url, { push = true, focus = '' } = {}) {
  const mine = ++latest;
  const content = document.querySelector(inPlace);
  content.setAttribute('aria-busy', 'true');
  let text = null;
  try { text = await fetched(url); } catch { /* the browser says it better */ }
  if (mine !== latest) return;
  if (text === null) { location.assign(url); return; }
  const page = new DOMParser().parseFromString(text, 'text/html');
  const next = page.querySelector(inPlace);
  if (!next) { location.assign(url); return; }
  const chosen = new URL(url, location.href);
  if (push) history.pushState(null, '', url);
  document.title = page.title;
  content.replaceChildren(...next.childNodes);
  content.removeAttribute('aria-busy');
  prepare();
  const target = (focus && document.getElementById(focus)) || (chosen.hash && document.getElementById(chosen.hash.slice(1)));
  if (target) {
    target.focus({ preventScroll: focus !== '' });
    if (!focus) target.scrollIntoView();
  }
  // said by screen readers: a region that was there before its text
  const live = document.querySelector('[data-live]');
  if (live) setTimeout(() => { live.textContent = `${document.title.split(' — ')[0]} : affiché.`; }, 100);
}

function asked(form) {
  const url = new URL(form.action);
  const hash = url.hash;
  url.search = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ''));
  url.hash = hash;
  return url.href;
}

document.addEventListener('change', (event) => {
  const form = event.target.closest('form[data-in-place]');
  if (form) show(asked(form).replace(/#.*/, ''), { focus: event.target.id });
});

document.addEventListener('submit', (event) => {
  if (!event.target.matches('form[data-in-place]')) return;
  event.preventDefault();
  show(asked(event.target));
});

window.addEventListener('popstate', () => show(location.href, { push: false }));

// --- the list behind a figure -------------------------------------------------------------------------------------

let opener = null;

function drawer() {
  let dialog = document.getElementById('tiroir');
  if (dialog) return dialog;
  dialog = document.createElement('dialog');
  dialog.id = 'tiroir';
  dialog.setAttribute('aria-labelledby', 'explication-titre');
  const close = document.createElement('button');
  close.type = 'button';
  close.className = 'close';
  close.textContent = 'Fermer';
  close.addEventListener('click', () => dialog.close());
  const inside = document.createElement('div');
  inside.className = 'inside';
  dialog.append(close, inside);
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('close', () => {
    inside.replaceChildren();
    if (opener && opener.isConnected) opener.focus();
    opener = null;
  });
  // the browser keeps focus out of the page behind; this keeps it out of the browser's own bars too
  dialog.addEventListener('keydown', (event) => {
    if (event.key !== 'Tab') return;
    const stops = [...dialog.querySelectorAll('a[href], button, summary, input, select')].filter((e) => e.checkVisibility());
    const [first, last] = [stops[0], stops[stops.length - 1]];
    if (event.shiftKey && (document.activeElement === first || !stops.includes(document.activeElement))) {
      event.preventDefault();
      last.focus();
    } else if (!event.shiftKey && document.activeElement === last) {
      event.preventDefault();
      first.focus();
    }
  });
  document.body.append(dialog);
  return dialog;
}

async function explain(link) {
  const url = new URL(link.href);
  url.searchParams.set('fragment', '1');
  let text = null;
  try { text = await fetched(url.href); } catch { /* as without a script */ }
  if (text === null) { location.assign(link.href); return; }
  const dialog = drawer();
  const inside = dialog.querySelector('.inside');
  const part = new DOMParser().parseFromString(text, 'text/html').querySelector('[data-explanation]');
  if (!part) { location.assign(link.href); return; }
  inside.replaceChildren(part);
  if (!dialog.open) {
    opener = link;
    dialog.showModal();
  }
  dialog.scrollTop = 0;
  dialog.querySelector('#explication-titre').focus();
}

document.addEventListener('click', (event) => {
  if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest('a[data-drawer], a[data-in-place]');
  if (!link) return;
  event.preventDefault();
  if (link.hasAttribute('data-drawer')) explain(link);
  else show(new URL(link.getAttribute('href'), location.href).href);
});

// --- paper --------------------------------------------------------------------------------------------------------

window.addEventListener('beforeprint', () => {
  for (const one of document.querySelectorAll('main details:not([open])')) {
    one.open = true;
    one.dataset.opened = '';
  }
});
window.addEventListener('afterprint', () => {
  for (const one of document.querySelectorAll('main details[data-opened]')) {
    one.open = false;
    delete one.dataset.opened;
  }
});

function prepare() {
  for (const form of document.querySelectorAll('form[data-in-place] button')) form.hidden = true;
  for (const item of document.querySelectorAll('[data-print]')) {
    item.hidden = false;
    item.querySelector('button').addEventListener('click', () => window.print());
  }
}
prepare();
