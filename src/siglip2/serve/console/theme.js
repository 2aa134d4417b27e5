// Before anything is painted: the theme that was chosen, or else the system's.
// A classic script, so that a dark page never flashes white.

const THEMES = ["system", "light", "dark"];

function chosenTheme() {
  const kept = localStorage.getItem("theme");
  return THEMES.includes(kept) ? kept : "system";
}

function setTheme(name) {
  localStorage.setItem("theme", name);
  document.documentElement.dataset.theme = name;
}

function nextTheme() {
  setTheme(THEMES[(THEMES.indexOf(chosenTheme()) + 1) % THEMES.length]);
}

setTheme(chosenTheme());
window.consoleTheme = { chosenTheme, nextTheme };
