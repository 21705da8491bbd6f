/** What runs in the lane's machine: the first process, and the ports by which it talks to us. */

/** The ports of the virtio console, by their number (nr). Port 0 belongs to a terminal, if there is one. */
export const PORTS = { stdin: 1, stdout: 2, stderr: 3, job: 4, signals: 5, result: 6 } as const;

/** Where things are in the machine; all of ours is in one directory, so that a job's files may be anywhere else. */
export const PLACES = {
  modules: "/lane/modules",
  /** The modules' names, a line each. */
  order: "/lane/order",
  programs: "/lane/bin",
  busybox: "/lane/bin/busybox",
  deno: "/lane/bin/deno",
  /** Deno's cache. */
  denoDirectory: "/lane/deno",
  /** The job's shell script; brought by the job. */
  command: "/lane/command",
  /** The command's process id. */
  pid: "/lane/pid",
  /** What the command leaves here comes back. */
  output: "/out",
} as const;

/** The last bytes of the result. Whoever has them answers with a line: until then the machine stays on. */
export const RESULT_END = "lane: this was all\n";

const port = (name: keyof typeof PORTS) => `/dev/vport0p${PORTS[name]}`;

/**
 * The script /init. The ports' nodes appear one after another, each followed by the news that its other end is open;
 * before that a read would see the end of file. The last port's name is the last of this news that can be waited for.
 *
 * A write to a port ends before the other side has the bytes (Linux: port_fops_write), so that a machine that is switched
 * off after it may lose as much as there is room for in a queue: megabytes.
 *
 * A job is run in the foreground, since a shell makes its background ignore SIGINT. When the signals' port ends, the
 * process that drives this machine has died, and the machine ends, too.
 */
export const INIT = `#!${PLACES.busybox} sh
export PATH=${PLACES.programs}:/bin HOME=/root
forward_signals() {
  while read -r signal; do
    until [ -s ${PLACES.pid} ]; do usleep 10000; done
    kill -"$signal" "$(cat ${PLACES.pid})"
  done
  poweroff -f
}
mount -t devtmpfs dev /dev && mount -t proc proc /proc && mount -t sysfs sys /sys
mkdir -p /dev/shm /dev/pts ${PLACES.output} /tmp && mount -t tmpfs shm /dev/shm && mount -t devpts pts /dev/pts
ln -s /proc/self/fd /dev/fd
while read -r module; do insmod ${PLACES.modules}/$module.ko || echo "lane: $module does not load"; done <${PLACES.order}
ip link set lo up
ulimit -n 65536
until [ -s /sys/class/virtio-ports/vport0p${PORTS.result}/name ]; do usleep 1000; done
forward_signals <${port("signals")} &
cd / && cpio -idu <${port("job")} || echo "lane: the job is damaged"
stdin=${port("stdin")}
[ -c /dev/hvc0 ] && stty -F /dev/hvc0 raw -echo && stdin=/dev/hvc0
sh ${PLACES.command} <$stdin >${port("stdout")} 2>${port("stderr")}
status=$?
exec 9<>${port("result")}
{ echo "status $status"; cd ${PLACES.output} && find . | cpio -o -H newc; echo "${RESULT_END.trim()}"; } >&9
read -r taken <&9
poweroff -f
`;

/** The job's script: the command with its directory and environment, in place of the shell. */
export function commandScript(
  command: readonly string[],
  directory: string,
  environment: Record<string, string>,
): string {
  const variables = Object.entries(environment).map(([name, value]) => `export ${name}=${quoted(value)}`);
  return [
    ...variables,
    `cd ${quoted(directory)}`,
    `echo $$ >${PLACES.pid}`,
    `exec ${command.map(quoted).join(" ")}`,
    "",
  ]
    .join("\n");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
