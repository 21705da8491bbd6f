/** `run`: the console on stdout and nothing else, at most one line on stderr, and the exit status of the contract. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { assertOneLine, finish } from "../support/command.ts";

const HELLO = "Hello from Xenolith, in 64-bit long mode\n";

for (
  const [args, status, stdout] of [
    [["guests/hello.img"], 0, HELLO],
    [["guests/null.img"], 0, ""],
    [["--cmdline", "poweroff", "guests/reset.img"], 0, "reset: powering off by ACPI\n"],
    [["guests/exit.img"], 7, "exit: status 7\n"],
    [["--cmdline=status=63", "guests/exit.img"], 63, "exit: status 63\n"],
    [["--cmdline", "--status=1 status=2", "guests/exit.img"], 2, "exit: status 2\n"],
    [["--memory", "2M", "--vcpus", "2", "--carrier", "worker", "--", "guests/hello.img"], 0, HELLO],
    [["--vcpus", "2", "--carrier", "native", "guests/hello.img"], 0, HELLO],
    [["guests/hello.img", "guests/null.img", "guests/hello.img"], 0, HELLO + HELLO],
    [["guests/null.img", "guests/exit.img", "guests/null.img"], 7, "exit: status 7\n"],
  ] as const
) {
  testWith([ANY_KVM], `run ${args.join(" ")}: status ${status} and no word on stderr`, async () => {
    const finished = await finish("run", args);
    assertEquals({ status: finished.status, stdout: finished.stdout, stderr: finished.stderr }, {
      status,
      stdout,
      stderr: "",
    });
  });
}

for (
  const [args, status, line, stdout] of [
    [["guests/reset.img"], 66, /^xenolith: guests\/reset\.img: the guest asked for a reset$/, /^reset: by the key/],
    [["--timeout", "1.5", "guests/hang.img"], 124, /^xenolith: guests\/hang\.img: time-out after 1\.5 s$/, /^hang: /],
    [
      ["guests/triplefault.img"],
      125,
      /^xenolith: guests\/triplefault\.img: triple fault: vcpu=0 rip=0x[0-9a-f]+(: ud2 \[0f 0b\])?$/, // docs/hosts.md
      /^triplefault: /,
    ],
    [["no\nsuch\nimage"], 64, /no such file$/, /^$/],
  ] as const
) {
  testWith(
    [ANY_KVM],
    `run ${args.join(" ").replaceAll("\n", "\\n")}: status ${status} and one line that says why`,
    async () => {
      const finished = await finish("run", args);
      assertOneLine(finished, status, line);
      assertMatch(finished.stdout, stdout);
    },
  );
}

for (
  const [images, status, greetings] of [
    [["guests/exit.img", "guests/triplefault.img", "guests/hello.img"], 7, 1],
    [["guests/triplefault.img", "guests/exit.img", "guests/hello.img"], 125, 1],
    [["guests/reset.img", "guests/exit.img", "guests/hello.img"], 66, 1],
    [["guests/exit.img", "missing.img"], 7, 0],
    [["guests/hello.img", "missing.img"], 64, 1],
    [["missing.img", "guests/exit.img"], 64, 0],
  ] as const
) {
  testWith([ANY_KVM], `of ${images.join(", ")} the first status that is not zero counts: ${status}`, async () => {
    const finished = await finish("run", images);
    assertEquals({ status: finished.status, greetings: finished.stdout.split(HELLO).length - 1 }, {
      status,
      greetings,
    });
  });
}

testWith([ANY_KVM], "--timeout counts for each image", async () => {
  const { status, lines } = await finish("run", ["--timeout", "0.3", "guests/hang.img", "guests/hang.img"]);
  assertEquals(status, 124);
  assertEquals(lines, Array(2).fill("xenolith: guests/hang.img: time-out after 0.3 s"));
});

testWith([ANY_KVM], "--initrd and --module hand files over, in this order", async () => {
  const { status, stdout } = await finish("run", [
    "--module",
    "guests/null.img",
    "--module",
    "guests/hello16.img with  a line",
    "--initrd",
    "guests/bootsector.img",
    "guests/modules.img",
  ]);
  assertEquals(status, 0);
  assertMatch(
    stdout,
    new RegExp(
      'modules: 3\nmodule 0: 2048 bytes, .*command line "", .*\nmodule 1: 142 bytes, .*command line "", .*\n' +
        'module 2: 57 bytes, .*command line "with  a line", .*\nmodules: all read\n$',
    ),
  );
});

for (const command of ["run", "doctor"] as const) {
  testWith([], `${command} --help explains on stderr, with status 0`, async () => {
    const { status, stdout, stderr } = await finish(command, ["--help"]);
    assertEquals({ status, stdout }, { status: 0, stdout: "" });
    assertMatch(stderr, new RegExp(`^usage: ${command} \\[options\\]`));
  });
}

testWith([], "--help names every option that is taken", async () => {
  const { stderr } = await finish("run", ["--help"]);
  const names = ["memory", "vcpus", "cmdline", "initrd", "module", "timeout", "carrier", "reboot", "stats", "json"];
  for (const name of [...names, "control"]) assertStringIncludes(stderr, `--${name} `);
});
