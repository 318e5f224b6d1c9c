package main

import (
	"flag"
	"time"

	"github.com/sockmill/sockmill/engine"
)

// limitFlags makes a flag of every limit of the Config. 0 is the default, -1 is
// engine.NoLimit (for a time: -1ns).
func limitFlags(c *engine.Config) {
	number := func(p *int, name, usage string) { flag.IntVar(p, name, *p, usage) }
	span := func(p *time.Duration, name, usage string) { flag.DurationVar(p, name, *p, usage) }
	number(&c.Loops, "loops", "event loops (0: one for each processor)")
	number(&c.ConnectionsMax, "connections-max", "open connections; above: 503")
	number(&c.HalfOpenMax, "half-open-max", "connections whose handshake is under way; above: 503")
	number(&c.ConnectionsPerAddressMax, "connections-per-address-max", "open connections of one client address; above: 429")
	number(&c.AcceptsPerAddressPerSecond, "accepts-per-address-per-second", "new connections of one client address; above: 429")
	span(&c.HandshakeTimeout, "handshake-timeout", "time a client has for its request; then 408")
	number(&c.HandshakeBytesMax, "handshake-bytes-max", "bytes of a request head; above: 431")
	number(&c.HeaderFieldsMax, "header-fields-max", "fields of a request head; above: 431")
	number(&c.MessageBytesMax, "max-message", "bytes of a message; above: 1009")
	number(&c.FragmentsMax, "fragments-max", "frames of a message; above: 1009")
	number(&c.ControlFramesPerSecond, "control-frames-per-second", "pings and pongs of one client; above, reading pauses")
	number(&c.MessagesPerSecond, "messages-per-second", "messages of one client; above, reading pauses")
	number(&c.BytesPerSecond, "bytes-per-second", "bytes of one client; above, reading pauses")
	number(&c.NotSentBytesMax, "not-sent-bytes-max", "bytes the kernel takes beyond what is on its way")
	number(&c.SendBytesHigh, "send-bytes-high", "bytes queued for one client; above, its reading pauses")
	number(&c.SendBytesLow, "send-bytes-low", "bytes queued for one client; below, its reading resumes")
	number(&c.SendBytesMax, "send-bytes-max", "bytes queued for one client; above: 1013")
	number(&c.BufferBytesMax, "buffer-bytes-max", "bytes in all buffers; above: 503 and 1013")
	span(&c.WriteStallTimeout, "write-stall-timeout", "time a backlog may make no progress")
	span(&c.PingInterval, "ping-interval", "silence before a ping")
	span(&c.PongTimeout, "pong-timeout", "silence after a ping before the end")
	span(&c.IdleTimeout, "idle-timeout", "time without a message; then 1001")
	span(&c.CloseTimeout, "close-timeout", "time for the answer to a close frame")
	span(&c.DiscardTimeout, "discard-timeout", "time for a client in the midst of sending to read why it is closed")
	span(&c.DrainTimeout, "drain-timeout", "time to say goodbye after SIGINT or SIGTERM")
	span(&c.LifetimeMax, "lifetime-max", "life of a connection; then 1001")
}
