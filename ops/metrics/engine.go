package metrics

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sockmill/sockmill/engine"
)

var engineFamilies families

var (
	live           = engineFamilies.add("live", "Whether all loops turn: 1 or 0.")
	ready          = engineFamilies.add("ready", "Whether the engine takes new connections: 1 or 0.")
	drainStage     = engineFamilies.add("drain_stage", "How far a drain has come: 0 for none, 1 not ready, 2 not accepting, 3 closing, 4 ending, 5 ended.")
	drainTotal     = engineFamilies.add("drain_connections", "Connections when the drain began, and those that opened since; 0 without a drain.")
	drainLeft      = engineFamilies.add("drain_left_connections", "Of these, those that are left; 0 without a drain.")
	drainFunctions = engineFamilies.add("drain_left_functions", "Functions of Go that a drain waits for; 0 without a drain.")

	connections    = engineFamilies.add("connections", "Connections that are on a loop, by listener and phase: opening, open or closing. The listener is dialled for those of Dial, and mounted for those of Upgrade.", "listener", "phase")
	connectionsIn  = engineFamilies.add("connections_in_use", "Places for connections that are taken: also by plain HTTP, by what Dial is to make, and by who is gone but for functions of Go.")
	connectionsMax = engineFamilies.add("connections_max", "Places for connections: ConnectionsMax, or what the descriptors of the process allow.")
	arrived        = engineFamilies.add("connections_arrived_total", "Connections that came to a loop. One that comes back from net/http counts again.", "listener")
	left           = engineFamilies.add("connections_left_total", "Connections that have left their loop: closed, or handed to net/http.", "listener")
	refused        = engineFamilies.add("connections_refused_total", "Connections that were turned away by a limit or during a shutdown, by reason.", "reason")
	closed         = engineFamilies.add("connections_closed_total", "Connections that have left their loop, by close code and by who closed: peer, server, or cut, which is the server without a closing handshake that was answered. The code is none for connections that had not been open.", "code", "by")
	dialsFailed    = engineFamilies.add("dials_failed_total", "Attempts of Dial that failed.")

	handshakes   = engineFamilies.add("handshakes_total", "Handshakes of connections that came, by result: open, http, origin, gone, or the status of the answer.", "result")
	handshakeFor = engineFamilies.add("handshake_duration_seconds", "The time from the arrival of a connection to its being open, with TLS its handshake included.")

	listenerIn      = engineFamilies.add("listener_connections_in_use", "Connections of a listener, handshakes and plain HTTP included.", "listener")
	listenerHalf    = engineFamilies.add("listener_half_open_connections", "Connections of a listener whose handshake is under way.", "listener")
	listenerLetIn   = engineFamilies.add("listener_accepted_total", "Connections that a listener let in.", "listener")
	listenerRefused = engineFamilies.add("listener_refused_total", "Connections of a listener that were turned away by a limit, of the listener or of the engine, or during a shutdown, by reason.", "listener", "reason")
	tlsFailed       = engineFamilies.add("tls_handshakes_failed_total", "TLS handshakes that failed, or were not done in time.", "listener")
	certificate     = engineFamilies.add("certificate_expiry_timestamp_seconds", "When the certificate that a listener serves expires, in seconds since 1970.", "listener")

	received       = engineFamilies.add("messages_received_total", "Messages that peers have sent.", "listener")
	written        = engineFamilies.add("messages_written_total", "Messages that the kernel has taken.", "listener")
	receivedBytes  = engineFamilies.add("received_bytes_total", "Bytes from peers: of the TCP stream, or of what TLS carries in it.", "listener")
	writtenBytes   = engineFamilies.add("written_bytes_total", "Bytes to peers: of the TCP stream, or of what TLS carries in it.", "listener")
	packetsIn      = engineFamilies.add("packets_received_total", "UDP packets that were received.", "listener")
	packetsTooLong = engineFamilies.add("packets_too_long_total", "UDP packets that were dropped because they are longer than PacketBytesMax.", "listener")
	packetsOut     = engineFamilies.add("packets_written_total", "UDP packets that the kernel has taken.", "listener")

	sent        = engineFamilies.add("messages_sent_total", "Messages that the program gave to connections. In the end, each is written, dropped or replaced.")
	dropped     = engineFamilies.add("messages_dropped_total", "Messages that were not written: dropped by a policy or because the protocol cannot carry them (policy), or because their connection ended before (discarded).", "reason")
	replaced    = engineFamilies.add("messages_replaced_total", "Messages that a later one of the same key has replaced.")
	rateLimited = engineFamilies.add("rate_limit_pauses_total", "Times that reading paused because a peer sent too much.")
	pings       = engineFamilies.add("pings_sent_total", "Pings that were sent because a peer was silent.")
	unanswered  = engineFamilies.add("pings_unanswered_total", "Connections that were cut because nothing came after a ping.")

	backpressure = engineFamilies.add("backpressured_connections", "Open connections whose peer is too slow: more than SendBytesHigh waits.")
	queuedBytes  = engineFamilies.add("queued_bytes", "Bytes of messages that wait for their loop, or for the kernel.")
	buffered     = engineFamilies.add("buffer_bytes", "Bytes of BufferBytesMax that are in use.")
	bufferedMax  = engineFamilies.add("buffer_bytes_max", "BufferBytesMax: what all connections together may buffer.")
	sendDelay    = engineFamilies.add("send_delay_duration_seconds", "The time from a Send on another goroutine to the end of the turn that writes it.")
	writeStall   = engineFamilies.add("write_stall_duration_seconds", "The time from when the kernel did not take all of a connection's output until it had.")

	takeover         = engineFamilies.add("deflate_takeover_bytes", "Bytes of DeflateTakeoverBytes that are granted.")
	compressMessages = engineFamilies.add("compressed_messages_total", "Messages that were compressed (out) or inflated (in).", "direction")
	compressPlain    = engineFamilies.add("compressed_plain_bytes_total", "Bytes of the payloads of compressed messages as the program sees them.", "direction")
	compressPacked   = engineFamilies.add("compressed_packed_bytes_total", "Bytes of the payloads of compressed messages as they are sent.", "direction")

	loopHeld        = engineFamilies.add("loop_held_total", "Callbacks, and turns of many, that held a loop longer than CallbackWarnAfter.")
	loopConnections = engineFamilies.add("loop_connections", "Connections on a loop.", "loop")
	loopInbox       = engineFamilies.add("loop_inbox_posts", "Posts of other goroutines that wait for a loop: messages, functions, broadcasts.", "loop")
	loopInboxBytes  = engineFamilies.add("loop_inbox_bytes", "Bytes of these posts, with their payloads.", "loop")
	loopTurns       = engineFamilies.add("loop_turns_total", "Events that a loop has served.", "loop")
	loopBusy        = engineFamilies.add("loop_busy_seconds_total", "The time that a loop has worked, measured with Config.Timings alone.", "loop")
	turn            = engineFamilies.add("loop_turn_duration_seconds", "How long a loop works at one event, while everybody else on it waits.")
	callback        = engineFamilies.add("callback_duration_seconds", "How long callbacks took, by kind. Those of some turns are measured: see callback_sampling_turns.", "kind")
	callbackEvery   = engineFamilies.add("callback_sampling_turns", "The callbacks of one turn in so many are measured.", "kind")

	functions   = engineFamilies.add("go_functions", "Functions of Go that are running, or waiting for those before them or for OffloadMax.", "state")
	poolRunning = engineFamilies.add("pool_goroutines", "Goroutines of a pool: go for functions of Go, upgrade for those of Upgrade.Go, tls for TLS handshakes, dial for TCP connections.", "pool")
	poolWaiting = engineFamilies.add("pool_waiting", "What waits for a goroutine of a pool.", "pool")
	poolMax     = engineFamilies.add("pool_goroutines_max", "Goroutines that a pool may have.", "pool")
)

// collectState sends how the engine is. What is left without a drain is in other families.
func collectState(ch chan<- prometheus.Metric, h engine.Health, d engine.DrainProgress) {
	send(ch, live, flag(h.Live()))
	send(ch, ready, flag(h.Ready()))
	send(ch, drainStage, int(d.Stage))
	if d.Stage == engine.NotDraining {
		d = engine.DrainProgress{}
	}
	send(ch, drainTotal, d.Total)
	send(ch, drainLeft, d.Left)
	send(ch, drainFunctions, d.Functions)
}

func collectEngine(ch chan<- prometheus.Metric, m *engine.Metrics) {
	send(ch, connectionsIn, m.Connections)
	send(ch, connectionsMax, m.Most)
	for _, r := range m.RefusedBy {
		send(ch, refused, r.N, r.Reason)
	}
	for _, c := range m.ClosedBy {
		send(ch, closed, c.N, c.Code, c.By)
	}
	send(ch, dialsFailed, m.DialFailed)
	for _, h := range m.Handshakes {
		send(ch, handshakes, h.N, h.Reason)
	}
	sendHistogram(ch, handshakeFor, &m.Handshake)
	names := map[string]bool{}
	for i := range m.Listeners {
		if l := &m.Listeners[i]; l.Name != "closed" { // nothing happens there any more, but each listener that ends would look like a burst
			collectListener(ch, l, names)
		}
	}
	collectMessages(ch, m)
	collectLoops(ch, m)
	send(ch, functions, m.GoRunning, "running")
	send(ch, functions, m.GoWaiting, "waiting")
	for _, p := range m.Pools {
		send(ch, poolRunning, p.Running, p.Name)
		send(ch, poolWaiting, p.Waiting, p.Name)
		send(ch, poolMax, p.Max, p.Name)
	}
}

// collectListener tells listeners of the same name apart: Prometheus takes each set of labels once.
func collectListener(ch chan<- prometheus.Metric, l *engine.ListenerMetrics, names map[string]bool) {
	name := l.Name
	for n := 2; names[name]; n++ {
		name = l.Name + " #" + strconv.Itoa(n)
	}
	names[name] = true
	if strings.HasPrefix(name, "udp://") {
		send(ch, packetsIn, l.Packets, name)
		send(ch, packetsTooLong, l.PacketsTooLong, name)
		send(ch, packetsOut, l.PacketsSent, name)
	}
	send(ch, connections, l.Opening, name, "opening")
	send(ch, connections, l.Open, name, "open")
	send(ch, connections, l.Closing, name, "closing")
	send(ch, arrived, l.Arrived, name)
	send(ch, left, l.Left, name)
	send(ch, received, l.MessagesIn, name)
	send(ch, written, l.MessagesOut, name)
	send(ch, receivedBytes, l.BytesIn, name)
	send(ch, writtenBytes, l.BytesOut, name)
	send(ch, listenerIn, l.Connections, name)
	send(ch, listenerHalf, l.HalfOpen, name)
	send(ch, listenerLetIn, l.Accepted, name)
	for _, r := range l.RefusedBy {
		send(ch, listenerRefused, r.N, name, r.Reason)
	}
	send(ch, tlsFailed, l.TLSFailed, name)
	if at := l.CertificateExpires; !at.IsZero() {
		send(ch, certificate, at.Unix(), name)
	}
}

func collectMessages(ch chan<- prometheus.Metric, m *engine.Metrics) {
	send(ch, sent, m.MessagesSent)
	send(ch, dropped, m.Dropped-min(m.Discarded, m.Dropped), "policy")
	send(ch, dropped, m.Discarded, "discarded")
	send(ch, replaced, m.Replaced)
	send(ch, rateLimited, m.RateLimited)
	send(ch, pings, m.Pings)
	send(ch, unanswered, m.PingsUnanswered)
	send(ch, backpressure, m.Backpressure)
	send(ch, queuedBytes, m.QueuedBytes)
	send(ch, buffered, m.BudgetUsed)
	send(ch, bufferedMax, m.BudgetMax)
	sendHistogram(ch, sendDelay, &m.SendDelay)
	sendHistogram(ch, writeStall, &m.WriteStall)
	send(ch, takeover, m.TakeoverBytes)
	for direction, c := range map[string]*engine.Compression{"out": &m.Compressed, "in": &m.Inflated} {
		send(ch, compressMessages, c.Messages, direction)
		send(ch, compressPlain, c.Plain, direction)
		send(ch, compressPacked, c.Packed, direction)
	}
}

func collectLoops(ch chan<- prometheus.Metric, m *engine.Metrics) {
	send(ch, loopHeld, m.LoopHeld)
	for i, l := range m.Loops {
		loop := strconv.Itoa(i)
		send(ch, loopConnections, l.Connections, loop)
		send(ch, loopInbox, l.Inbox, loop)
		send(ch, loopInboxBytes, l.InboxBytes, loop)
		send(ch, loopTurns, l.Turns, loop)
		send(ch, loopBusy, l.Busy.Seconds(), loop)
	}
	sendHistogram(ch, turn, &m.Turn)
	for i := range m.Callbacks {
		c := &m.Callbacks[i]
		sendOccurred(ch, callback, &c.Histogram, c.Kind)
		send(ch, callbackEvery, c.Every, c.Kind)
	}
}
