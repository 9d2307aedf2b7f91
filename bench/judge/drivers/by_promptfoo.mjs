// promptfoo: `llm-rubric` over answers that are there (its provider "echo"), run by its own `evaluate`.
// The protocol is that of driving.py, and so are the cases.

import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { pathToFileURL } from "node:url";

const answers = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);

const home = process.argv[2];
const about = JSON.parse(fs.readFileSync(path.join(home, "package.json"), "utf8"));
const entry = about.exports["."].import.default ?? about.exports["."].import;
const { default: promptfoo } = await import(pathToFileURL(path.join(home, entry)));

const CRITERION = "The answer names the same city as the reference. Wording does not matter.";

function cases(count) {
  return Array.from({ length: count }, (_, i) => ({
    vars: {
      question: `What is the capital of the country on page ${i} of the atlas?`,
      expected: `City ${i}`,
      answer: `It is City ${i}, I believe.`,
    },
  }));
}

async function judge({ base_url, count, in_flight }) {
  const provider = { id: "openai:chat:stand-in", config: { apiBaseUrl: base_url, apiKey: "none" } };
  const rubric = `${CRITERION} Question: {{question}} Reference: {{expected}}`;
  const suite = {
    prompts: ["{{answer}}"],
    providers: ["echo"],
    defaultTest: { options: { provider }, assert: [{ type: "llm-rubric", value: rubric }] },
    tests: cases(count),
    writeLatestResults: false,
  };
  const found = await promptfoo.evaluate(suite, { maxConcurrency: in_flight, cache: false, showProgressBar: false });
  const summary = await found.toEvaluateSummary();
  return summary.stats.successes;
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  answers(JSON.stringify({ right: await judge(JSON.parse(line)) }) + "\n");
}
process.exit(0);
