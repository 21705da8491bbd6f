import { assertEquals } from "@std/assert";
import { Console } from "../../src/devices/console.ts";
import { PvConsole } from "../../src/devices/pv_console.ts";
import { CHANNEL, FakeMachine, INPUT, OUTPUT, PAGE_ADDRESS } from "./fake_host.ts";

/** struct xencons_interface (xen/io/console.h). */
const RING = { input: 0, output: 1024, inCons: 3072, inProd: 3076, outCons: 3080, outProd: 3084 } as const;
const INPUT_BYTES = 1024, OUTPUT_BYTES = 2048;

type Index = "inCons" | "inProd" | "outCons" | "outProd";

/** A console with a ring, and the guest at its other end. */
class Fixture {
  readonly machine: FakeMachine;
  /** What the consumer before the ring has got. */
  serial = "";

  constructor() {
    this.machine = new FakeMachine((host, machine) => {
      const console = new Console(host, machine.descriptors, { input: INPUT, output: OUTPUT, escape: null });
      new PvConsole(host, console, { page: PAGE_ADDRESS, port: CHANNEL });
      const arrived = () => void (this.serial += String.fromCharCode(console.take()));
      console.attach({ wants: () => true, arrived });
    });
  }

  get(index: Index): number {
    return new DataView(this.machine.page.buffer).getUint32(RING[index], true);
  }

  set(index: Index, value: number): void {
    new DataView(this.machine.page.buffer).setUint32(RING[index], value, true);
  }

  /** The guest prints, and tells nobody. */
  put(text: string): void {
    let produced = this.get("outProd");
    for (const character of text) {
      this.machine.page[RING.output + produced++ % OUTPUT_BYTES] = character.charCodeAt(0);
    }
    this.set("outProd", produced >>> 0);
  }

  /** The guest takes what there is, and tells nobody. */
  take(): string {
    let text = "", consumed = this.get("inCons");
    while (consumed !== this.get("inProd")) {
      text += String.fromCharCode(this.machine.page[RING.input + consumed % INPUT_BYTES]);
      consumed = (consumed + 1) >>> 0;
    }
    this.set("inCons", consumed);
    return text;
  }

  /** The guest sends an event, and the model does all it can. */
  send(): void {
    this.machine.sendEvent();
    this.machine.sleep();
  }

  get printed(): string {
    return this.machine.descriptors.printed;
  }
}

Deno.test("PvConsole prints what the guest puts into its ring, and tells it that there is room again", () => {
  const fixture = new Fixture();
  fixture.machine.sleep();
  assertEquals(fixture.machine.events, 0);
  fixture.put("hello");
  fixture.machine.sleep();
  assertEquals(fixture.printed, "", "nobody has told the model");
  fixture.send();
  assertEquals([fixture.printed, fixture.get("outCons"), fixture.machine.events], ["hello", 5, 1]);
  fixture.send();
  assertEquals([fixture.printed, fixture.machine.events], ["hello", 1]);
});

Deno.test("PvConsole prints a full ring whose indices wrap, in its order", () => {
  const fixture = new Fixture();
  const start = 2 ** 32 - 1000;
  fixture.set("outCons", start);
  fixture.set("outProd", start);
  const text = Array.from({ length: OUTPUT_BYTES }, (_, index) => String.fromCharCode(33 + index % 90)).join("");
  fixture.put(text);
  fixture.send();
  assertEquals([fixture.printed, fixture.get("outCons")], [text, OUTPUT_BYTES - 1000]);
});

Deno.test("PvConsole takes nothing more while the console's output is full", () => {
  const fixture = new Fixture();
  const { descriptors } = fixture.machine;
  descriptors.room = 0;
  fixture.machine.roomAfterWait = OUTPUT_BYTES;
  const texts = ["a", "b", "c", "d"].map((letter) => letter.repeat(OUTPUT_BYTES));
  for (const text of texts) {
    fixture.put(text);
    fixture.send();
  }
  assertEquals(fixture.machine.waits > 0, true, "it has waited for room");
  descriptors.room = Infinity;
  fixture.machine.sleep();
  assertEquals(fixture.printed, texts.join(""));
});

Deno.test("PvConsole skips what indices that make no sense stand for, and goes on", () => {
  const fixture = new Fixture();
  fixture.set("outProd", OUTPUT_BYTES + 1);
  fixture.send();
  assertEquals([fixture.printed, fixture.get("outCons"), fixture.machine.events], ["", OUTPUT_BYTES + 1, 1]);
  fixture.put("well");
  fixture.send();
  assertEquals(fixture.printed, "well");
});

Deno.test("PvConsole prints what is left when the domain stops, though no event came", () => {
  const fixture = new Fixture();
  fixture.put("bye");
  fixture.machine.stop();
  assertEquals(fixture.printed, "bye");
});

Deno.test("PvConsole gets the input from the guest's first word on, and so does its next generation", () => {
  const fixture = new Fixture();
  const { descriptors } = fixture.machine;
  descriptors.type("s");
  fixture.machine.sleep();
  assertEquals([fixture.serial, fixture.take()], ["s", ""]);
  fixture.put("> ");
  fixture.send();
  descriptors.type("line");
  const before = fixture.machine.events;
  fixture.machine.sleep();
  assertEquals([fixture.take(), fixture.machine.events], ["line", before + 1]);
  fixture.machine.restart();
  fixture.machine.sleep();
  descriptors.type("again");
  fixture.machine.sleep();
  assertEquals([fixture.take(), fixture.serial], ["again", "s"]);
});

Deno.test("PvConsole fills the ring with input, and goes on when the guest has taken some", () => {
  const fixture = new Fixture();
  const text = Array.from({ length: 2500 }, (_, index) => String.fromCharCode(33 + index % 90)).join("");
  fixture.put("> ");
  fixture.send();
  fixture.machine.descriptors.type(text);
  fixture.machine.sleep();
  assertEquals(fixture.get("inProd") - fixture.get("inCons"), INPUT_BYTES);
  let taken = "";
  for (let round = 0; round < 3; round++) {
    taken += fixture.take();
    fixture.send();
  }
  assertEquals(taken + fixture.take(), text);
});

Deno.test("PvConsole puts no input behind indices that make no sense", () => {
  const fixture = new Fixture();
  fixture.put("> ");
  fixture.send();
  fixture.set("inProd", INPUT_BYTES + 5);
  fixture.machine.descriptors.type("x");
  fixture.send();
  assertEquals(fixture.get("inProd"), INPUT_BYTES + 5);
  fixture.set("inCons", INPUT_BYTES + 5);
  fixture.send();
  assertEquals(fixture.take(), "x");
});
