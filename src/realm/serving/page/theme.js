// Light or dark as chosen earlier, before anything is painted. Without a choice the system decides.
try {
  const chosen = localStorage.getItem("realm-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* storage is switched off: the system decides */ }
