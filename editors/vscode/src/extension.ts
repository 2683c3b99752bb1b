// The extension: starts `torchlint server`, and starts it again when what it depends on has changed.

import * as vscode from "vscode";
import { ExecuteCommandRequest, LanguageClient } from "vscode-languageclient/node";

import { candidates, diagnosis, find, REMEDY } from "./find";

let client: LanguageClient | undefined;
let log: vscode.LogOutputChannel;
let turn: Promise<void> = Promise.resolve();

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  log = vscode.window.createOutputChannel("torchlint", { log: true });
  context.subscriptions.push(
    log,
    vscode.commands.registerCommand("torchlint.restart", restart),
    vscode.commands.registerCommand("torchlint.showLog", () => log.show()),
    vscode.commands.registerCommand("torchlint.fixDocument", fixDocument),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("torchlint.path")) {
        void restart();
      }
    }),
  );
  const environments = await pythonEnvironments();
  const changed = environments?.onDidChangeActiveEnvironmentPath(() => {
    if (!settings().get<string>("path")) {
      void restart();
    }
  });
  if (changed) {
    context.subscriptions.push(changed);
  }
  await restart();
}

export async function deactivate(): Promise<void> {
  await after(stop);
}

function settings(): vscode.WorkspaceConfiguration {
  return vscode.workspace.getConfiguration("torchlint", vscode.workspace.workspaceFolders?.[0]);
}

/** One start or stop at a time. */
function after(what: () => Promise<void>): Promise<void> {
  turn = turn.then(what, what);
  return turn;
}

function restart(): Promise<void> {
  return after(async () => {
    await stop();
    await start();
  });
}

async function stop(): Promise<void> {
  const old = client;
  client = undefined;
  try {
    await old?.dispose();
  } catch (error) {
    log.warn(`The server did not stop: ${error}`);
  }
}

async function start(): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  const tried = candidates(settings().get<string>("path") ?? "", folder?.fsPath, await interpreter(folder));
  const { command, problems } = await find(tried);
  for (const problem of problems) {
    log.info(`Not started: ${problem}`);
  }
  if (!command) {
    await complain(`torchlint was not found. ${REMEDY}`);
    return;
  }
  log.info(`Starts ${[command.program, ...command.args, "server"].join(" ")} from ${command.from}`);
  const started = new LanguageClient(
    "torchlint",
    "torchlint",
    { command: command.program, args: [...command.args, "server"], options: { cwd: folder?.fsPath } },
    {
      documentSelector: ["file", "untitled", "vscode-notebook-cell"].map((scheme) => ({ scheme, language: "python" })),
      initializationOptions: settings(),
      synchronize: { configurationSection: "torchlint" },
      outputChannel: log,
      traceOutputChannel: log,
    },
  );
  client = started;
  try {
    await started.start();
  } catch (error) {
    log.error(`${error}`);
    client = undefined;
    await complain(`The server did not start. ${await diagnosis(command)}`);
  }
}

async function complain(message: string): Promise<void> {
  log.error(message);
  const open = "Open Settings";
  // Not waited for: the message may stand for as long as the user likes.
  void vscode.window.showErrorMessage(message, "Show Log", open).then((chosen) => {
    if (chosen === open) {
      void vscode.commands.executeCommand("workbench.action.openSettings", "torchlint.path");
    } else if (chosen) {
      log.show();
    }
  });
}

async function fixDocument(): Promise<void> {
  const document = vscode.window.activeTextEditor?.document;
  if (!document) {
    return;
  }
  if (!client?.isRunning()) {
    await complain(`The server does not run. ${REMEDY}`);
    return;
  }
  await client.sendRequest(ExecuteCommandRequest.type, {
    command: "torchlint.fixAll",
    arguments: [client.code2ProtocolConverter.asUri(document.uri)],
  });
}

// What is used of the Python extension's interface.
interface Environments {
  getActiveEnvironmentPath(resource?: vscode.Uri): { path: string };
  resolveEnvironment(path: { path: string }): Promise<{ executable: { uri?: vscode.Uri } } | undefined>;
  onDidChangeActiveEnvironmentPath: vscode.Event<unknown>;
}

async function pythonEnvironments(): Promise<Environments | undefined> {
  const python = vscode.extensions.getExtension<{ environments?: Environments }>("ms-python.python");
  try {
    return (await python?.activate())?.environments;
  } catch (error) {
    log.warn(`The Python extension does not start: ${error}`);
    return undefined;
  }
}

/** The interpreter of the environment that is selected in the Python extension. */
async function interpreter(folder: vscode.Uri | undefined): Promise<string | undefined> {
  const environments = await pythonEnvironments();
  if (!environments) {
    return undefined;
  }
  const selected = environments.getActiveEnvironmentPath(folder);
  return (await environments.resolveEnvironment(selected))?.executable.uri?.fsPath ?? selected.path;
}
