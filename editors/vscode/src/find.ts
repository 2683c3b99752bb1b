// Which program is the server: the one that is set, the one in the selected Python environment, or the one on PATH.

import { spawn } from "node:child_process";
import * as os from "node:os";
import * as path from "node:path";

/** A way to start torchlint, and where it was found. */
export interface Command {
  program: string;
  args: string[];
  from: string;
}

/** The ways to try, the first that works counts. What is set explicitly is the only one. */
export function candidates(set: string, folder: string | undefined, interpreter: string | undefined): Command[] {
  if (set.trim()) {
    const program = expanded(set.trim(), folder);
    return [{ program, args: [], from: "the setting torchlint.path" }];
  }
  const found: Command[] = [];
  if (interpreter) {
    found.push({ program: interpreter, args: ["-m", "torchlint"], from: "the selected Python environment" });
  }
  found.push({ program: "torchlint", args: [], from: "PATH" });
  return found;
}

function expanded(set: string, folder: string | undefined): string {
  const named = set.replace(/\$\{workspaceFolder\}/g, folder ?? ".").replace(/^~(?=[/\\]|$)/, os.homedir());
  const isName = !/[/\\]/.test(named);
  return isName || path.isAbsolute(named) || !folder ? named : path.join(folder, named);
}

/** Runs a command to its end: its exit status (undefined: it could not be started) and what it said of errors. */
export function ran(command: Command, ...args: string[]): Promise<{ status: number | undefined; errors: string }> {
  return new Promise((resolve) => {
    const child = spawn(command.program, [...command.args, ...args], {
      stdio: ["ignore", "ignore", "pipe"],
      shell: process.platform === "win32" && /\.(cmd|bat)$/i.test(command.program),
      timeout: 30_000,
    });
    let errors = "";
    child.stderr.on("data", (data: Buffer) => (errors += data.toString()));
    child.on("error", (error) => resolve({ status: undefined, errors: error.message }));
    child.on("close", (status) => resolve({ status: status ?? undefined, errors: errors.trim() }));
  });
}

/** The first candidate that is there; else what is wrong with each. */
export async function find(tried: Command[]): Promise<{ command?: Command; problems: string[] }> {
  const problems: string[] = [];
  for (const command of tried) {
    const { status, errors } = await ran(command, "--version");
    if (status === 0) {
      return { command, problems };
    }
    const said = errors.split("\n").pop() || `exit status ${status}`;
    problems.push(`${[command.program, ...command.args].join(" ")} (${command.from}): ${said}`);
  }
  return { problems };
}

export const REMEDY =
  "Install it in the selected Python environment with `pip install 'torchlint[server]'`, or set torchlint.path.";

/** Why a server that is there did not start, in a sentence for the user. */
export async function diagnosis(command: Command): Promise<string> {
  const { errors } = await ran(command, "server");
  const said = errors.split("\n").pop();
  return said ? said.replace(/^Error: /, "") : "The server ended at once; the log may say why.";
}
