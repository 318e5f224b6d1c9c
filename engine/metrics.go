package engine

import (
	"time"

	"github.com/sockmill/sockmill/codec"
)

// Metrics are the numbers of an Engine for a monitoring system. What is of type
// uint64, and a Histogram, only rises. The sums agree with Stats:
//
//	RefusedBy together = Stats.Refused
//	ClosedBy together = Closed
//	Handshakes together = Accepted - connections of Listeners that are opening
//	Listeners together = Accepted, Dialled, Closed, Open, and the bytes and messages of Stats
//	Loops together = connections that are on a loop
//
// While connections come and go, a sum may be behind its parts for the rest of a turn.
type Metrics struct {
	Stats

	RefusedBy  []Count           // of Stats.Refused; all reasons, always in this order: address_connections, address_rate, half_open, memory, connections, handover, not_running, closed
	Handshakes []Count           // of accepted connections, by result; all results, always in this order: see HandshakeResults
	ClosedBy   []CloseCount      // of Closed; all codes and closers, always in the same order
	Listeners  []ListenerMetrics // in the order in which they were made; then "mounted", "dialled", and "closed" for listeners that are no more
	Loops      []LoopMetrics     // by the number of the loop; none before Run
	Pools      []PoolMetrics     // always in this order: go, upgrade, tls, dial

	Pings           uint64 // that the engine sent, because a peer was silent
	PingsUnanswered uint64 // connections that were cut, because nothing came for PongTimeout after a ping

	Backpressure int   // open connections for which more than SendBytesHigh waited, and not yet less than SendBytesLow
	QueuedBytes  int64 // of messages that wait for their loop, or for the kernel
	BudgetUsed   int64 // bytes of BufferBytesMax that are in use
	BudgetMax    int64 // BufferBytesMax
	GoRunning    int   // functions of Conn.Go that run
	GoWaiting    int   // functions of Conn.Go that wait for those before them, or for OffloadMax

	Compressed Compression // messages that were sent compressed
	Inflated   Compression // messages that came compressed

	// What follows is measured with Config.Timings alone. Without it, all counts are 0.

	Turn       Histogram           // what a loop does at one event; everybody else on the loop waits meanwhile
	Handshake  Histogram           // from the arrival of a connection to its OnOpen; with TLS its handshake included
	SendDelay  Histogram           // from a Send on another goroutine to the end of the turn that carries it out, which writes it unless the kernel takes no more
	WriteStall Histogram           // from when the kernel did not take all of a connection's output until it had
	Callbacks  []CallbackHistogram // by kind, always in the same order
}

// HandshakeResults are the results of Metrics.Handshakes. "open" is a WebSocket, or a
// protocol that needs no handshake; "http" went to Config.HTTP; "origin" was refused by
// Config.Origins or CheckOrigin; the numbers are the status of the answer, with
// "other" for those that are not listed; "gone" are peers that left, or were cut,
// before they had an answer.
func HandshakeResults() []string { return append([]string(nil), handshakeResults[:]...) }

// Count is how often something happened for one reason.
type Count struct {
	Reason string
	N      uint64
}

// CloseCount is how many connections ended with a close code.
type CloseCount struct {
	Code string // "1000" to "1015"; "3xxx" and "4xxx" for the codes of libraries and programs; "other"; "none" for connections that had not been open
	By   string // "peer"; "server": this side, of dialled connections too; "cut": this side, without a closing handshake that was answered
	N    uint64
}

// ListenerMetrics are the numbers of one Listener, or of the connections that have
// none: those of Engine.Upgrade ("mounted") and of Engine.Dial ("dialled").
type ListenerMetrics struct {
	Name          string // Listener.String
	ListenerStats        // zero for those that have no Listener

	RefusedBy []Count // of ListenerStats.Refused; as Metrics.RefusedBy

	Opening, Open, Closing int // connections that are on a loop, by phase: the handshake is under way, open, on their way to the end

	Arrived                 uint64 // connections that came to a loop; one that comes back from net/http counts again
	Left                    uint64 // of these, those that have left their loop
	BytesIn, BytesOut       uint64 // as in ConnStats
	MessagesIn, MessagesOut uint64
}

// LoopMetrics are the numbers of one loop.
type LoopMetrics struct {
	Connections int           // on this loop
	Inbox       int           // posts of other goroutines that wait for the loop: messages, functions, broadcasts
	InboxBytes  int64         // of these, with their payloads
	Turns       uint64        // events that the loop has served
	Busy        time.Duration // in turns, as those that are measured suggest; 0 without Config.Timings
}

// PoolMetrics are the numbers of one pool of goroutines: "go" runs functions of
// Conn.Go, "upgrade" those of Upgrade.Go, "tls" makes TLS handshakes, "dial"
// TCP connections.
type PoolMetrics struct {
	Name    string
	Running int // goroutines
	Waiting int // for one of them
	Max     int // goroutines at most
}

// Compression says what permessage-deflate did in one direction.
type Compression = codec.Compression

// Histogram counts durations. Of what is frequent only a part is measured, chosen by
// chance, so that it costs little.
type Histogram struct {
	Every  int       // one in so many is measured
	Bounds []float64 // the upper bounds in seconds, without that of the last count
	Counts []uint64  // one more than Bounds, not cumulated: Counts[i] are those at most Bounds[i] and above Bounds[i-1]
	Sum    float64   // in seconds
}

// CallbackHistogram is how long callbacks of one kind took.
type CallbackHistogram struct {
	Kind string // as the log names it: "OnMessage", "timer", "post", …
	Histogram
}
