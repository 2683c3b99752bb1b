// The extension as it is packaged, in a VS Code that is not there: what it registers, and what it says without a server.

import assert from "node:assert/strict";
import Module from "node:module";
import * as path from "node:path";
import { test } from "node:test";

/** Stands for whatever of the interface the client library looks at while it is loaded. */
function anything(): unknown {
  return new Proxy(class {}, {
    get(target: Record<string, unknown>, key: string) {
      if (!(key in target)) {
        target[key] = anything();
      }
      return target[key];
    },
  } as ProxyHandler<never>);
}

const registered: string[] = [];
const logged: string[] = [];
const shown: string[] = [];
const disposable = { dispose() {} };
const log = (message: string) => logged.push(message);

const vscode = new Proxy(
  {
    window: {
      createOutputChannel: () => ({ ...disposable, show() {}, info: log, warn: log, error: log }),
      showErrorMessage: async (message: string) => void shown.push(message),
    },
    commands: {
      registerCommand: (name: string) => {
        registered.push(name);
        return disposable;
      },
    },
    workspace: {
      workspaceFolders: undefined,
      onDidChangeConfiguration: () => disposable,
      getConfiguration: () => ({ get: (key: string) => (key === "path" ? "/nowhere/torchlint" : undefined) }),
    },
    extensions: { getExtension: () => undefined },
  } as Record<string, unknown>,
  { get: (target, key: string) => (key in target ? target[key] : (target[key] = anything())) },
);

test("without a server it says what to do", async () => {
  const internals = Module as unknown as { _load(name: string, ...rest: unknown[]): unknown };
  const load = internals._load;
  internals._load = (name, ...rest) => (name === "vscode" ? vscode : load(name, ...rest));
  const extension = require(path.join(__dirname, "..", "extension.js"));
  await extension.activate({ subscriptions: [] });
  await extension.deactivate();
  assert.deepEqual(registered, ["torchlint.restart", "torchlint.showLog", "torchlint.fixDocument"]);
  assert.match(logged[0] ?? "", /^Not started: \/nowhere\/torchlint \(the setting torchlint.path\): .*ENOENT/);
  assert.equal(shown.length, 1);
  assert.match(shown[0] ?? "", /pip install 'torchlint\[server\]'/);
});
