// The real server, through the protocol library that VS Code itself uses.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import {
  CodeActionRequest,
  createProtocolConnection,
  DidChangeTextDocumentNotification,
  DidOpenTextDocumentNotification,
  ExitNotification,
  HoverRequest,
  InitializedNotification,
  InitializeRequest,
  PublishDiagnosticsNotification,
  ShutdownRequest,
  StreamMessageReader,
  StreamMessageWriter,
  type CodeAction,
  type PublishDiagnosticsParams,
} from "vscode-languageserver-protocol/node";

const URI = "file:///project/train.py";
const TEXT = `import torch

model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(10):
    loss = model(torch.randn(4, 2)).mean()
    loss.backward()
    optimizer.step()
`;

test("findings, fixes and pages", { timeout: 60_000 }, async (context) => {
  const python = process.env.TORCHLINT_PYTHON ?? "python3";
  const server = spawn(python, ["-m", "torchlint", "server", "--stdio"], { stdio: ["pipe", "pipe", "inherit"] });
  context.after(() => server.kill());
  const connection = createProtocolConnection(
    new StreamMessageReader(server.stdout),
    new StreamMessageWriter(server.stdin),
  );
  const told: PublishDiagnosticsParams[] = [];
  let news = () => {};
  connection.onNotification(PublishDiagnosticsNotification.type, (params) => {
    told.push(params);
    news();
  });
  const shown = async (version: number) => {
    for (;;) {
      const found = told.find((one) => one.version === version);
      if (found) {
        return found.diagnostics;
      }
      await new Promise<void>((resolve) => (news = resolve));
    }
  };
  connection.listen();

  const { capabilities, serverInfo } = await connection.sendRequest(InitializeRequest.type, {
    processId: process.pid,
    rootUri: null,
    workspaceFolders: null,
    capabilities: { workspace: { workspaceEdit: { documentChanges: true } } },
  });
  assert.equal(serverInfo?.name, "torchlint");
  assert.equal(capabilities.positionEncoding, "utf-16");
  await connection.sendNotification(InitializedNotification.type, {});
  await connection.sendNotification(DidOpenTextDocumentNotification.type, {
    textDocument: { uri: URI, languageId: "python", version: 1, text: TEXT },
  });
  const [found, ...others] = await shown(1);
  assert.ok(found);
  assert.deepEqual([found.code, found.source, others.length], ["missing-zero-grad", "torchlint", 0]);

  const actions = await connection.sendRequest(CodeActionRequest.type, {
    textDocument: { uri: URI },
    range: found.range,
    context: { diagnostics: [found] },
  });
  const [fix] = actions as CodeAction[];
  assert.match(fix?.title ?? "", /optimizer.zero_grad\(\)/);
  const [change] = fix?.edit?.documentChanges ?? [];
  assert.ok(change && "edits" in change);
  const [edit] = change.edits;
  assert.ok(edit && "newText" in edit);
  await connection.sendNotification(DidChangeTextDocumentNotification.type, {
    textDocument: { uri: URI, version: 2 },
    contentChanges: [{ range: edit.range, text: edit.newText }],
  });
  assert.deepEqual(await shown(2), []);

  const hover = await connection.sendRequest(HoverRequest.type, { textDocument: { uri: URI }, position: { line: 0, character: 0 } });
  assert.equal(hover, null);
  await connection.sendRequest(ShutdownRequest.type);
  await connection.sendNotification(ExitNotification.type);
  const [status] = await once(server, "exit");
  assert.equal(status, 0);
});
