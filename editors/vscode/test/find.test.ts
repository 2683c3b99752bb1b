// Which torchlint is started, and what is said when there is none.

import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { test } from "node:test";

import { candidates, diagnosis, find } from "../src/find";

const folder = mkdtempSync(path.join(os.tmpdir(), "torchlint-"));

function program(name: string, code: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, `#!${process.execPath}\n${code}\n`, { mode: 0o755 });
  return file;
}

test("what is set is the only candidate", () => {
  const programs = (set: string) => candidates(set, "/w", "/env/python").map((one) => one.program);
  assert.deepEqual(programs("/opt/torchlint"), ["/opt/torchlint"]);
  assert.deepEqual(programs(" torchlint-dev "), ["torchlint-dev"]);
  assert.deepEqual(programs("${workspaceFolder}/.venv/bin/torchlint"), ["/w/.venv/bin/torchlint"]);
  assert.deepEqual(programs(".venv/bin/torchlint"), ["/w/.venv/bin/torchlint"]);
  assert.deepEqual(programs("~/bin/torchlint"), [path.join(os.homedir(), "bin/torchlint")]);
});

test("else the selected environment, then PATH", () => {
  assert.deepEqual(
    candidates("", undefined, "/env/python").map((one) => [one.program, ...one.args].join(" ")),
    ["/env/python -m torchlint", "torchlint"],
  );
  assert.deepEqual(candidates("", undefined, undefined).map((one) => one.program), ["torchlint"]);
});

test("the first that works counts, and what is wrong with the others is said", async () => {
  const broken = program("broken", "console.error('No module named torchlint'); process.exit(1)");
  const works = program("works", "process.exit(process.argv.includes('--version') ? 0 : 3)");
  const at = (name: string) => ({ program: name, args: [], from: "a test" });
  const found = await find([at(path.join(folder, "missing")), at(broken), at(works)]);
  assert.equal(found.command?.program, works);
  assert.match(found.problems[0] ?? "", /ENOENT/);
  assert.equal(found.problems[1], `${broken} (a test): No module named torchlint`);
  assert.equal((await find([at(broken)])).command, undefined);
});

test("what keeps a server from starting is told", async () => {
  const remedy = "`torchlint server` needs pygls. Remedy: pip install 'torchlint[server]'";
  const without = program("without", `console.error(${JSON.stringify(`Error: ${remedy}`)}); process.exit(2)`);
  assert.equal(await diagnosis({ program: without, args: [], from: "a test" }), remedy);
});
