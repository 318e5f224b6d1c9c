// Package report holds what the programs of the harness tell each other, as JSON.
package report

// Load is what the load generator prints. Times are nanoseconds, sizes bytes.
// What has no meaning in a mode is zero.
type Load struct {
	Mode        string `json:"mode"`
	Connections int    `json:"connections"`
	InFlight    int    `json:"in_flight"`
	Size        int    `json:"size"` // of a payload

	// The measured window.
	WindowNs  int64  `json:"window_ns"`
	Messages  uint64 `json:"messages"` // replies; of a fan-out, deliveries; of the mode handshake, handshakes
	Published uint64 `json:"published,omitempty"`
	BytesOut  uint64 `json:"bytes_out"` // as TCP carries them
	BytesIn   uint64 `json:"bytes_in"`

	LoadCPUNs   int64 `json:"load_cpu_ns"`
	ServerCPUNs int64 `json:"server_cpu_ns,omitempty"`
	// The same from /proc/*/schedstat of the threads alive at both ends: less
	// than ServerCPUNs if threads ended, and up to a timer tick behind.
	ServerSchedstatNs int64 `json:"server_schedstat_ns,omitempty"`

	Latency Latency `json:"latency"`

	// Resident memory of the server before the first connection, with all of
	// them open, and after the window, before they close.
	RSSBefore int64 `json:"rss_before,omitempty"`
	RSSOpen   int64 `json:"rss_open,omitempty"`
	RSSAfter  int64 `json:"rss_after,omitempty"`

	// What was verified: replies counted from the first to the last, and how
	// many of them were compared byte by byte.
	Counted  uint64 `json:"counted"`
	Compared uint64 `json:"compared"`
	Retries  int    `json:"retries,omitempty"` // of connections that were refused
}

// Latency is of a sample of the messages.
type Latency struct {
	Samples int64 `json:"samples"`
	P50     int64 `json:"p50"`
	P99     int64 `json:"p99"`
	P999    int64 `json:"p999"`
	Max     int64 `json:"max"`
}
