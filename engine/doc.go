// Package engine is a callback-driven WebSocket server on event loops.
//
//	e, err := engine.New(engine.Config{Addr: "ws://:8090"}, engine.Handler{
//		OnMessage: func(c *engine.Conn, m engine.Message) { c.Send(m) },
//	})
//	if err != nil { … }
//	err = e.Run(ctx)
//
// # Contract
//
// Every connection lives on one loop, which is one goroutine. Its callbacks run
// there: one at a time, in order, never two at once. OnUpgrade comes first,
// then OnOpen, then messages, pings and pongs, and OnClose exactly once and
// last, if OnOpen ran. OnClose never runs inside the program's own Send or
// Close. A callback that blocks holds up every connection of its loop.
//
// Message.Data, and the data of a ping or pong, are valid until the callback
// returns; Message.Clone keeps a message. Conn.Request is valid until OnOpen
// returns; strings taken from it stay valid, but keep the whole head alive.
//
// Send, Close and Ping may be called from any goroutine. They copy, never
// block, and return an error that says what happened: ErrClosed,
// ErrBackpressure, ErrStopped. On the connection's loop the output of one
// callback batch leaves in one write; from elsewhere it goes through the loop's
// queue. What one goroutine sends to one connection arrives in that order.
//
// Messages are compressed for clients that offer it (RFC 7692): see
// Config.Deflate, and Message.Plain for what should not be.
//
// A panic in a callback is recovered and logged with its stack; it closes that
// connection with 1011 and touches no other.
//
// Every buffer has a bound, and every bound has a finite default; see Config.
// The engine takes no signals, never exits the process, and logs only to
// Config.Logger.
package engine
