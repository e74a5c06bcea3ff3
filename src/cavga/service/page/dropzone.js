// Where photographs are dropped, chosen, or copied from a folder on the server.

import { at, droppedFiles, get, post, upload } from "./api.js";
import { byId, el, note, plural, say } from "./dom.js";

// `zone` takes drops; the returned element holds the buttons and what became of the files.
export function dropzone(zone, project, set, done, [label, folderLabel] = ["Choose photographs", "From a folder on the server"]) {
  const where = note();
  const progress = el("progress", { max: "1", value: "0", hidden: true, "aria-label": "Sending photographs" });
  const refused = el("div", { class: "refused" });
  const files = el("input", { type: "file", multiple: true, accept: "image/*,.tif,.tiff,.bmp,.pgm,.ppm", class: "file" });
  let isBusy = false;

  async function take(chosen) {
    if (isBusy || chosen.length === 0) return;
    isBusy = true;
    refused.replaceChildren();
    progress.hidden = false;
    where.show(`Sending ${plural(chosen.length, "file")} …`);
    const result = await upload(project, set, chosen, (count, all) => {
      progress.value = count / all;
      where.show(`Sending: ${count} of ${all}`);
    });
    progress.hidden = true;
    isBusy = false;
    report(result.added, result.known, result.refused);
  }

  function report(added, known, problems) {
    const same = known ? `, ${known} there already` : "";
    where.show(`${plural(added, "photograph")} added${same}${problems.length ? `, ${problems.length} left out:` : ""}`);
    refused.replaceChildren(problems.length > 0
      ? el("ul", { class: "problems", role: "alert" }, problems.map((text) => el("li", {}, text))) : "");
    say(`${added} added, ${problems.length} left out`);
    done(added);
  }

  files.addEventListener("change", () => {
    take([...files.files]);
    files.value = "";
  });
  const choose = el("button", { type: "button", class: "primary" }, label);
  choose.addEventListener("click", () => files.click());
  const folder = el("button", { type: "button" }, folderLabel);
  folder.addEventListener("click", async () => {
    try {
      const name = await chosenFolder();
      if (name === null) return;
      where.show(`Copying ${name} …`);
      const result = await post(at(project, "/photographs/copy"), { set, folder: name });
      report(result.num_new, result.num_known, result.refused);
    } catch (error) {
      where.fail(error);
    }
  });
  listen(zone, take, where);
  return el("div", { class: "taking" }, el("div", { class: "row" }, choose, folder, files), progress, where.place, refused);
}

function listen(zone, take, where) {
  let depth = 0;
  const lit = (isLit) => zone.classList.toggle("dropping", isLit);
  zone.addEventListener("dragenter", () => lit((depth += 1) > 0));
  zone.addEventListener("dragleave", () => lit((depth -= 1) > 0));
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    lit(false);
    try {
      await take(await droppedFiles(event.dataTransfer));
    } catch (error) {
      where.fail(error);
    }
  });
}

async function chosenFolder() {
  const [{ folders }, { folder }] = await Promise.all([get("/folders"), get("/projects")]);
  const dialog = byId("folders");
  const select = byId("folders-value");
  select.replaceChildren(...folders.map((name) => el("option", { value: name }, name)));
  byId("folders-choice").hidden = byId("folders-copy").hidden = folders.length === 0;
  byId("folders-about").textContent = folders.length === 0
    ? `There is none: whoever runs the server can put folders of photographs into ${folder}/.`
    : `Folders with photographs in ${folder}/ are listed. The photographs are copied into the project.`;
  dialog.returnValue = "cancel";
  dialog.showModal();
  await new Promise((closed) => dialog.addEventListener("close", closed, { once: true }));
  return dialog.returnValue === "copy" ? select.value : null;
}
