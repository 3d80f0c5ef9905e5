// Logging in.

import { h } from "../dom.js";
import * as api from "../api.js";

/**
 * Who is in already. `null`: nobody, and the form is shown. Name and password that the page was opened with, as in
 * http://guest:guest@host:15672/, open a session, and are gone from the address with that.
 */
export async function whoIsIn() {
  const { username, password } = new URL(document.baseURI);
  try {
    if (!username) return await api.get("/whoami");
    await api.logIn(decodeURIComponent(username), decodeURIComponent(password));
    location.replace(location.origin + location.pathname + location.hash);
    return await new Promise(() => {});
  } catch {
    return null;
  }
}

export function loginView(enter, reason) {
  const problem = h("p", { class: "problem", role: "alert" }, reason);
  const user = h("input", { id: "user", name: "username", autocomplete: "username", required: true, spellcheck: "false" });
  const password = h("input", { id: "password", name: "password", type: "password", autocomplete: "current-password" });
  const press = h("button", { type: "submit", class: "primary" }, "Log in");
  const submit = async event => {
    event.preventDefault();
    press.disabled = true;
    problem.textContent = "";
    try {
      await enter(await api.logIn(user.value, password.value));
    } catch (error) {
      problem.textContent = error.status === 401 && error.message === "Login failed"
        ? "No user of that name has that password, or may not come from here." : error.message;
      password.select();
    } finally {
      press.disabled = false;
    }
  };
  return h("main", { id: "main", class: "login", tabindex: "-1", key: "login" },
    h("form", { onsubmit: submit },
      h("h1", {}, h("span", { class: "mark", "aria-hidden": "true" }), "Leveret"),
      h("div", { class: "field" }, h("label", { for: "user" }, "User"), user),
      h("div", { class: "field" }, h("label", { for: "password" }, "Password"), password),
      problem, press,
      h("p", { class: "dim" }, "A new broker has the user guest with the password guest, who may log in from this machine only.")));
}
