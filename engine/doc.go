// Package engine is a callback-driven WebSocket server, and client, on event
// loops.
//
//	e, err := engine.New(engine.Config{Addr: "ws://:8090"}, engine.Handler{
//		OnMessage: func(c *engine.Conn, m engine.Message) { c.Send(m) },
//	})
//	if err != nil { … }
//	err = e.Run(ctx)
//
// # Listeners and protocols
//
// Config.Addr, or Engine.Listen for each further listener, says where the engine
// listens, and by its scheme in which protocol: ws, http (for Config.HTTP alone),
// tcp (bytes), text (lines: see codec.Lines), frame (see codec.Frames), udp, and those of
// Config.Schemes. A message of text and frame is one of OnMessage, and what is
// said of connections holds for those of every protocol; bytes, lines and frames have no pings,
// no close codes and no compression. wss, https and tls, and +tls behind any other name,
// are over TLS: see docs/TLS.md. +unix behind a name makes the address a socket file.
//
// # Callbacks
//
// Every connection lives on one loop, which is one goroutine. Its callbacks run
// there: one at a time, in order, never two at once. OnUpgrade comes first,
// then OnOpen, then messages, pings and pongs, and OnClose exactly once and
// last, if OnOpen ran. No callback runs inside the program's own Send or Close.
// (One exception: if the deadline of a shutdown cuts a connection while a
// function of Conn.Go runs, its OnClose comes on another goroutine, perhaps after
// the shutdown.)
//
// Message.Data, and the data of a ping or pong, are valid until the callback
// returns; Message.Clone keeps a message. Built with the tag sockmill_debug, a
// program that reads such data later sees 0xDB in its place. Conn.Request is
// valid until OnOpen returns; strings taken from it stay valid, but keep the
// whole head alive.
//
// A panic in a callback is recovered and logged with its stack; it closes that
// connection with 1011 and touches no other.
//
// # Blocking
//
// A callback that blocks holds up every connection of its loop. A watchdog logs
// which callback held which loop, and counts it in Stats.LoopHeld, when that
// takes longer than Config.CallbackWarnAfter; it tells many short callbacks in one
// turn of a loop from a long one. If much input of one connection is there at
// once, the loop serves others after two milliseconds, and then goes on. Conn.Go runs a function off the
// loop, with a copy of the message. Reading from that connection pauses until it
// has returned. What Go accepted is called, whatever becomes of the connection,
// and OnClose comes after it; the context that it gets ends only at the deadline
// of a shutdown, which waits for it. Conn.Context ends with the connection, or
// when the peer ends its stream. OnClose may call Go, too: see there. Upgrade.Go
// does the same for OnUpgrade: a session that has to be looked up, another server
// that is asked first.
//
// # Sending
//
// Send, Close, CloseNow, Abort and Ping may be called from any goroutine. They
// copy, never block, and return an error that says what happened: ErrClosed,
// ErrBackpressure, ErrStopped. On the connection's loop the output of one
// callback batch leaves in one write; from elsewhere it goes through the loop's
// queue. What one goroutine sends to one connection arrives in that order,
// except that a message with PolicyReplace takes the place of an older one.
//
// Message.Policy, or else Config.Policy, says what becomes of a message while
// SendBytesMax bytes wait for its connection: Close, the default, closes it with
// Config.SlowCode; PolicyDropNewest and PolicyDropOldest drop; PolicyReplace leaves the latest of each
// Message.Key, from the moment when the kernel takes no more. What is dropped is
// counted in ConnStats. Control frames have no policy, and a message of which a
// part is written is finished.
//
// Above SendBytesHigh, reading from that connection pauses and OnBackpressure is
// called; at SendBytesLow it resumes and OnDrain is called. A peer that takes
// nothing of its backlog for WriteStallTimeout is cut.
//
// # Pausing
//
// Reading from a connection stops while there is any reason for it: its
// backlog, that of the connection it is joined to, PauseReading, Conn.Hold, a
// function of Conn.Go, or more messages, bytes or control frames in a second than
// Config allows. TCP then makes the peer wait.
// Its pings are answered when reading resumes; until then its silence is not
// held against it. Where the system cannot pause reading (macOS) it goes on.
//
// # Loops and timers
//
// Engine.Loops are there from New on. Loop.Post has a loop call a function; After
// and Every of Conn, Loop and Engine do so later. Functions that are posted
// before Run are called when the loops run, and the time of timers begins then.
// All of them must not block, like callbacks. What a connection's timers do is a
// callback of that connection, and ends before its OnClose.
//
// # Compression
//
// With Config.Deflate, permessage-deflate (RFC 7692) is agreed with clients that
// offer it; by default it is off. Message.Plain leaves a message as it is.
// A message that a policy may remove from a queue is not compressed either.
//
// # Dialling
//
// Engine.Dial makes connections to other servers, with the same callbacks, Conn
// and limits, in all protocols but udp and http. OnFailure, and the callbacks of all connections that one Dial makes,
// run on one loop, one at a time: OnClose of a connection that was lost, and what
// it gave to Conn.Go, come before OnOpen of the next. Broadcast passes dialled connections by.
//
// # Joining
//
// Pipe joins two connections: messages go from each to the other in place of
// OnMessage, a slow reader makes the other side wait, and the end of one closes the
// other, after OnClose, with the same code.
//
// # Packets
//
// A listener on udp:// has no connections: each packet comes to OnPacket, on a loop,
// with a Packet that can answer it at once or later. As long as the listener is open,
// a peer always comes to the same loop, so what a program keeps of its peers needs no
// lock; the engine keeps nothing of them. Listener.WriteTo sends to any address.
// UDP may lose packets, change their order, and deliver one twice, and the sender's
// address may be forged (RFC 8085). The limits for connections, addresses and seconds
// do not hold for packets; PacketBytesMax does.
//
// # Addresses
//
// Conn.RemoteAddr is the peer of the TCP connection. Conn.ClientAddr is the
// client's address: what a proxy says of it (a PROXY header, Forwarded,
// X-Forwarded-For) is believed if the proxy is one of Config.TrustedProxies, and
// never otherwise. The limits per address count ClientAddr.
//
// # Bounds
//
// Every buffer has a bound, and every bound has a finite default; see Config and
// docs/LIMITS.md. All buffers together are bounded by BufferBytesMax. The engine
// takes no signals, never exits the process, and logs only to Config.Logger; if that is nil,
// warnings and errors go to standard error.
package engine
