package report

import "time"

// Results is all that a run of the harness measured.
type Results struct {
	Began    time.Time         `json:"began"`
	Took     string            `json:"took"`
	Command  string            `json:"command"`
	Machine  Machine           `json:"machine"`
	Versions map[string]string `json:"versions"` // of the peers
	Absent   map[string]string `json:"absent"`   // peers that could not run, and why
	Samples  []Sample          `json:"samples"`
	Polling  []Polling         `json:"polling,omitempty"`
}

// Machine is where it was measured.
type Machine struct {
	CPU     string `json:"cpu"`
	CPUs    int    `json:"cpus"`
	Memory  string `json:"memory"`
	Kernel  string `json:"kernel"`
	Go      string `json:"go"`
	Server  int    `json:"server_cpu"` // the processor of the servers
	Load    int    `json:"load_cpu"`   // of the load
	LoadAvg string `json:"loadavg"`    // when it began: what else ran
}

// Sample is one peer in one scenario in one repetition.
type Sample struct {
	Scenario   string `json:"scenario"`
	Peer       string `json:"peer"`
	Repetition int    `json:"repetition"`
	Failed     string `json:"failed,omitempty"` // then Load has no meaning
	Load       Load   `json:"load"`
}

// Polling is one way for chat messages to reach their readers.
type Polling struct {
	Way          string  `json:"way"`
	Readers      int     `json:"readers"`
	Delivered    int     `json:"delivered"`
	BytesMessage float64 `json:"bytes_per_message"` // both directions, as TCP carries them, per message delivered
	Requests     int     `json:"requests"`
	P50          int64   `json:"p50_ns"` // of the delay from the sending to the delivery
	P99          int64   `json:"p99_ns"`
	Max          int64   `json:"max_ns"`
}
