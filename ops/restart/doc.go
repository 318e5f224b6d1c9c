// Package restart replaces a running program by its next version while its clients
// go on connecting: the listening sockets go to the new process, and the old one ends
// its connections and then itself.
//
//	r, err := restart.New(restart.Config{Signals: []os.Signal{syscall.SIGHUP}})
//	if err != nil { … }
//	defer r.Close()
//	e, err := engine.New(engine.Config{Addr: "ws://:8090", Sockets: r}, handler)
//	if err != nil { … }
//	err = r.Run(ctx, e) // in place of e.Run(ctx)
//
// # Where sockets come from
//
// Each socket that the engine asks for is looked for in this order:
//
//  1. The process that started this one has it, and hands it over.
//  2. systemd has passed it (socket activation). It is found by its FileDescriptorName, if
//     Config.Names has that, or by its address. A socket of systemd that nothing
//     asks for is an error of Ready, since its clients would wait for ever.
//  3. It is made, as it would be without this package.
//
// TCP sockets, socket files and UDP sockets are handed over alike. A server of
// net/http gets its listener by Restart.Listen.
//
// # The next version
//
// A signal of Config.Signals, or a call of Restart.Upgrade, starts the program
// again: the file that os.Args[0] names now, with the same arguments, environment and
// working directory. Until the new process calls Ready (Run does so), the old one goes
// on and accepts everybody. If the new one exits before that, or is not ready within
// Config.ReadyTimeout (then it is killed), the old one goes on for good, and logs one
// line: "the new version did not take over; this one goes on".
//
// When it is ready, the old process stops accepting, and drains: see
// engine.Engine.Drain. The sockets never close, so nobody is refused: who connects
// meanwhile waits in the accept queue, which the two processes share.
// Connections that the old process has accepted finish their handshake there. While
// the old process drains, the new one refuses to start a further version.
//
// A process begins to accept when it has said that it is ready, not before: whatever
// becomes of a version that does not get ready, no client was its own.
//
// # Signals
//
// The package takes the signals that Config.Signals names, from New on, and no others. SIGHUP
// is also what a terminal sends when it is closed: then a process that had a
// terminal does not start a new version but ends, as it would without this package.
//
// # systemd
//
// Under Type=notify and Type=notify-reload the process says READY=1, RELOADING=1,
// STOPPING=1, and MAINPID= when another process has taken over. The old process
// says the latter, so that NotifyAccess=main suffices. With other types,
// Config.PIDFile tells systemd (PIDFile=) which process is the main one.
//
// # Containers
//
// A container ends with its first process, so that this one cannot hand over:
// Upgrade fails if the process ID is 1. There the supervisor starts the new version beside
// the old one. On one machine (host network), Config.ReusePort lets both listen on the same
// port. The kernel gives each new connection to one of the sockets; those that the
// old process has not accepted when it closes its socket are reset, unless the
// sysctl net.ipv4.tcp_migrate_req is 1 (Linux 5.14).
package restart
