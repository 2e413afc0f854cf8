// SPDX-License-Identifier: GPL-2.0-only
// Puts a filter above each table that asks for one; without it the tables are shown in full.
"use strict";

for (const table of document.querySelectorAll("table[data-filter]")) {
  const rows = [...table.querySelectorAll("tbody tr:not(.group)")];
  const choices = (table.dataset.choices || "").split("|").filter(Boolean);
  const form = document.createElement("div");
  form.className = "filter";
  form.setAttribute("role", "search");
  form.setAttribute("aria-label", "Filter: " + table.dataset.filter);

  const words = document.createElement("input");
  words.type = "search";
  words.placeholder = "words in a row";
  const label = document.createElement("label");
  label.append("Filter ", words);
  form.append(label);

  let choice = null;
  if (choices.length) {
    choice = document.createElement("select");
    for (const each of choices) choice.append(new Option(each));
    const which = document.createElement("label");
    which.append("Show ", choice);
    form.append(which);
  }
  const shown = document.createElement("output");
  form.append(shown);

  const apply = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const only = choice && choice.selectedIndex > 0 ? choice.value : "";
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const kinds = (row.dataset.is || "").split("|");
      row.hidden = !(wanted.every((w) => text.includes(w)) && (!only || kinds.includes(only)));
      count += row.hidden ? 0 : 1;
    }
    for (const body of table.tBodies) {
      const group = body.querySelector("tr.group");
      if (group) group.hidden = ![...body.rows].some((row) => row !== group && !row.hidden);
    }
    shown.textContent = count + " of " + rows.length;
  };
  words.addEventListener("input", apply);
  if (choice) choice.addEventListener("change", apply);
  apply();
  table.closest(".wide").before(form);
}
