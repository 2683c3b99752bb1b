// Bundles the extension into one file; with --test, what is tested, each file for itself.

import { build } from "esbuild";

const common = { bundle: true, platform: "node", target: "node20", logLevel: "warning" };

if (process.argv.includes("--test")) {
  await build({
    ...common,
    entryPoints: ["find", "extension", "server"].map((name) => `test/${name}.test.ts`),
    outdir: "out/test",
    outExtension: { ".js": ".cjs" },
    external: ["vscode"],
  });
} else {
  await build({
    ...common,
    entryPoints: ["src/extension.ts"],
    outfile: "out/extension.js",
    external: ["vscode"],
    minify: true,
  });
}
