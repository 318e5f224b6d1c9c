package engine

// disagreement says which sums of m do not hold; all loops are at rest.
func (m *Metrics) disagreement() string {
	count := func(all []Count) (n uint64) {
		for _, x := range all {
			n += x.N
		}
		return n
	}
	var closed, connections uint64
	for _, x := range m.ClosedBy {
		closed += x.N
	}
	for _, x := range m.Loops {
		connections += uint64(x.Connections)
	}
	var of ListenerMetrics
	for _, x := range m.Listeners {
		of.Opening += x.Opening
		of.Open += x.Open
		of.Closing += x.Closing
		of.Arrived += x.Arrived
		of.Left += x.Left
		of.BytesIn += x.BytesIn
		of.BytesOut += x.BytesOut
		of.MessagesIn += x.MessagesIn
		of.MessagesOut += x.MessagesOut
	}
	switch {
	case count(m.RefusedBy) != m.Refused:
		return "RefusedBy is not Refused"
	case closed != m.Closed:
		return "ClosedBy is not Closed"
	case of.Arrived != m.Accepted+m.Dialled || of.Left != m.Closed || of.Open != m.Open:
		return "the connections of Listeners are not those of Stats"
	case of.BytesIn != m.BytesIn || of.BytesOut != m.BytesOut || of.MessagesIn != m.MessagesIn || of.MessagesOut != m.MessagesOut:
		return "the traffic of Listeners is not that of Stats"
	case of.Arrived-of.Left != connections || of.Opening+of.Open+of.Closing != int(connections):
		return "the connections of Loops are not those of Listeners"
	case m.Dialled == 0 && count(m.Handshakes) != m.Accepted-uint64(of.Opening):
		return "Handshakes is not Accepted without those that are opening"
	}
	return ""
}
