// Runs a region's module over an image of its memory, for operand after operand: what main.rs tells.
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";

const [from, memoryName, tableName, entry, linksName, calls, vcpu, links, results, length, unlinked] = process.argv.slice(2);
const image = readFileSync("memory");
const memory = new WebAssembly.Memory({ initial: image.length / 65536 });
const bytes = new Uint8Array(memory.buffer);
bytes.set(image);
const table = new WebAssembly.Table({ element: "anyfunc", initial: 1 });
const instantiate = (file, imports) =>
  new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)), { [from]: imports }).exports;
const imports = { [memoryName]: memory, [tableName]: table };
for (const call of calls.split(",")) {
  imports[call] = () => {
    throw new Error(`a call-out: ${call}`);
  };
}
const dispatcher = instantiate("dispatcher", imports);
Object.assign(imports, dispatcher);
const exported = instantiate("module", imports);
exported[linksName].value = Number(links);
table.set(0, exported[entry]);
const operands = readFileSync("operands");
const output = openSync("results", "w");
for (let at = 0; at < operands.length; at += 24) {
  // The slots come first.
  bytes.set(operands.subarray(at, at + 24), Number(vcpu));
  const returned = dispatcher[entry](0);
  if (returned !== Number(unlinked)) {
    throw new Error(`the region returned ${returned}`);
  }
  writeSync(output, bytes, Number(results), Number(length));
}
closeSync(output);
