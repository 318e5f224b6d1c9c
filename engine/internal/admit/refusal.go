package admit

// Refusal is why a connection may not come in.
type Refusal uint8

// The reasons. Admitted is none.
const (
	Admitted    Refusal = iota
	Address             // Config.ConnectionsPerAddressMax
	AddressRate         // Config.AcceptsPerAddressPerSecond
	HalfOpen            // Config.HalfOpenMax
	Memory              // Config.Spent
	Full                // Config.ConnectionsMax
	Handover            // the http.Server could not take it
	NotRunning          // the engine does not run yet
	Closed              // the engine is shut down
	refusals            // how many there are
)

// table says what the peer, the operator and the metrics are told of a refusal.
var table = [refusals]struct {
	name   string // of a counter
	status int    // of the HTTP answer
	text   string
	hint   string // for the operator
}{
	Admitted:    {"admitted", 0, "", ""},
	Address:     {"address_connections", 429, "too many connections from this address", "Config.ConnectionsPerAddressMax is reached"},
	AddressRate: {"address_rate", 429, "too many new connections from this address, try again in a second", "Config.AcceptsPerAddressPerSecond is reached"},
	HalfOpen:    {"half_open", 503, "the server is full, try again later", "Config.HalfOpenMax is reached"},
	Memory:      {"memory", 503, "the server is full, try again later", "Config.BufferBytesMax is reached"},
	Full:        {"connections", 503, "the server is full, try again later", "Config.ConnectionsMax is reached"},
	Handover:    {"handover", 503, "the server is full, try again later", "Config.HTTP does not take its connections fast enough, or descriptors are lacking"},
	NotRunning:  {"not_running", 503, "the server does not run yet", ""},
	Closed:      {"closed", 503, "the server is going away", ""},
}

// Name is the name of the reason, for counters.
func (r Refusal) Name() string { return table[r].name }

// Status is the status of the HTTP answer.
func (r Refusal) Status() int { return table[r].status }

// Text is what the peer is told: a short sentence in ASCII.
func (r Refusal) Text() string { return table[r].text }

// Hint is what the operator is told beside it, such as the limit that is reached; "" if there is nothing to say.
func (r Refusal) Hint() string { return table[r].hint }

// Refuse counts a refusal that the engine decided on.
func (g *Gate) Refuse(why Refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refuse(why)
}

// refuse counts a refusal. g.mu is held.
func (g *Gate) refuse(why Refusal) Refusal {
	for x := g; x != nil; x = x.outer {
		x.refused[why]++
	}
	return why
}
