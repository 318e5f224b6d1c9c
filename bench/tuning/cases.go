//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
)

// variant is one way to run a case.
type variant struct {
	Name    string
	Sysctls map[string]string // of the network namespace
	Env     []string          // of the server
	Config  map[string]int64  // fields of engine.Config
	Load    []string          // flags of the load generator
}

type testCase struct {
	Name     string
	Variants []variant
}

// The loads.
var (
	echoMany  = []string{"-mode", "echo", "-conns", "1000", "-inflight", "1", "-size", "128", "-duration", "2s"}
	echoFew   = []string{"-mode", "echo", "-conns", "100", "-inflight", "32", "-size", "128", "-duration", "2s"}
	echoLarge = []string{"-mode", "echo", "-conns", "50", "-inflight", "4", "-size", "65536", "-duration", "2s"}
	deflated  = []string{"-mode", "deflate", "-conns", "100", "-inflight", "4", "-size", "512", "-duration", "2s"}
	connects  = []string{"-mode", "handshake", "-conns", "50", "-duration", "2s"}
	burst     = []string{"-mode", "burst", "-conns", "8000"}
	quiet     = []string{"-mode", "idle", "-conns", "8000", "-rest", "2s"}
)

// of makes the variants of a sysctl; the first is the value that the others are compared with.
func of(sysctl string, load []string, values ...string) (all []variant) {
	for _, v := range values {
		all = append(all, variant{Name: v, Sysctls: map[string]string{sysctl: v}, Load: load})
	}
	return all
}

func ofEnv(name string, load []string, values ...string) (all []variant) {
	for _, v := range values {
		all = append(all, variant{Name: v, Env: []string{name + "=" + v}, Load: load})
	}
	return all
}

func ofConfig(field string, load []string, values ...int64) (all []variant) {
	for _, v := range values {
		all = append(all, variant{Name: fmt.Sprint(v), Config: map[string]int64{field: v}, Load: load})
	}
	return all
}

func allCases() []testCase {
	const second = int64(time.Second)
	return []testCase{
		{"somaxconn", of("net.core.somaxconn", burst, "4096", "128", "65535")},
		{"tcp_max_syn_backlog", of("net.ipv4.tcp_max_syn_backlog", burst, "2048", "128", "65535")},
		{"tcp_syncookies", of("net.ipv4.tcp_syncookies", burst, "1", "0")},
		{"tcp_rmem", of("net.ipv4.tcp_rmem", echoLarge, "4096 131072 6291456", "4096 16384 6291456", "4096 131072 131072", "4096 1048576 6291456")},
		{"tcp_wmem", of("net.ipv4.tcp_wmem", echoLarge, "4096 16384 4194304", "4096 16384 65536", "4096 262144 4194304")},
		{"tcp_rmem-small", of("net.ipv4.tcp_rmem", echoMany, "4096 131072 6291456", "4096 4096 4096")},
		{"tcp_tw_reuse", of("net.ipv4.tcp_tw_reuse", connects, "2", "0", "1")},
		{"tcp_slow_start_after_idle", of("net.ipv4.tcp_slow_start_after_idle", echoLarge, "1", "0")},
		{"tcp_autocorking", of("net.ipv4.tcp_autocorking", echoFew, "1", "0")},
		{"ip_local_port_range", of("net.ipv4.ip_local_port_range", connects, "32768 60999", "1024 65535")},
		{"GOMAXPROCS", ofEnv("GOMAXPROCS", echoMany, "2", "1", "4")},
		{"GOGC-handshake", ofEnv("GOGC", connects, "100", "50", "20", "400")},
		{"GOGC-echo", ofEnv("GOGC", echoMany, "100", "20", "400")},
		{"GOGC-idle", ofEnv("GOGC", quiet, "100", "50", "20")},
		{"GOMEMLIMIT-idle", ofEnv("GOMEMLIMIT", quiet, "off", "24MiB")},
		{"GOMEMLIMIT-handshake", ofEnv("GOMEMLIMIT", connects, "off", "24MiB")},
		{"Loops", ofConfig("Loops", echoMany, 2, 1, 4, 16)},
		{"Loops-few", ofConfig("Loops", echoFew, 2, 1, 4, 16)},
		{"NotSentBytesMax", ofConfig("NotSentBytesMax", echoLarge, 64<<10, 16<<10, 1<<20, engine.NoLimit)},
		{"SendBytesHigh", ofConfig("SendBytesHigh", echoLarge, 1<<20, 64<<10, 4<<20)},
		{"DeflateLevel", ofConfig("DeflateLevel", deflated, 3, 1, 6, 9)},
		{"PingInterval", ofConfig("PingInterval", echoMany, 25*second, engine.NoLimit, second)},
		{"CallbackWarnAfter", ofConfig("CallbackWarnAfter", echoMany, second/10, engine.NoLimit, second/100)},
	}
}

// serve is the server of a variant.
func serve(ctx context.Context, what string) error {
	var v variant
	if err := json.Unmarshal([]byte(what), &v); err != nil {
		return err
	}
	cfg := engine.Config{Addr: "ws://127.0.0.1:0", Logger: zap.NewNop(), Deflate: engine.DeflateOff}
	if slices.Contains(v.Load, "deflate") {
		cfg.Deflate = engine.DeflateNoTakeover
	}
	for field, value := range v.Config {
		f := reflect.ValueOf(&cfg).Elem().FieldByName(field)
		if !f.CanInt() {
			return fmt.Errorf("engine.Config has no number %s", field)
		}
		f.SetInt(value)
	}
	e, err := engine.New(cfg, engine.Handler{OnMessage: func(c *engine.Conn, m engine.Message) {
		_ = c.Send(m) // fails only if c is closing
	}})
	if err != nil {
		return err
	}
	fmt.Println(e.Addr())
	return e.Run(ctx)
}

// The columns of a table.
var columns = []struct {
	name string
	of   func(r *result) float64
}{
	{"server CPU for each, µs", func(r *result) float64 { return float64(r.Load.ServerCPUNs) / 1000 / float64(max(r.Load.Messages, 1)) }},
	{"a second", func(r *result) float64 { return float64(r.Load.Messages) * 1e9 / float64(max(r.Load.WindowNs, 1)) }},
	{"the last, ms", func(r *result) float64 { return float64(r.Load.Latency.Max) / 1e6 }},
	{"found the queue full", func(r *result) float64 { return float64(r.Overflows) }},
	{"RSS of a connection", func(r *result) float64 {
		return float64(max(r.Load.RSSAfter, r.Load.RSSOpen)-r.Load.RSSBefore) / float64(max(r.Load.Connections, 1))
	}},
}

// printCase prints the medians of each variant, and in brackets those of the ratios to the first.
func printCase(c *testCase, results [][]result) {
	fmt.Printf("\n%s (%v)\n| |", c.Name, c.Variants[0].Load)
	for _, col := range columns {
		fmt.Printf(" %s |", col.name)
	}
	fmt.Println("\n|---|---|---|---|---|---|")
	for v, rs := range results {
		fmt.Printf("| %s |", c.Variants[v].Name)
		for _, col := range columns {
			var values, ratios []float64
			for i := range rs {
				x, base := col.of(&rs[i]), col.of(&results[0][i])
				values = append(values, x)
				if base > 0 {
					ratios = append(ratios, x/base)
				}
			}
			fmt.Printf(" %.4g", median(values))
			if v > 0 && len(ratios) > 0 {
				fmt.Printf(" (×%.2f: %.2f–%.2f)", median(ratios), slices.Min(ratios), slices.Max(ratios))
			}
			fmt.Print(" |")
		}
		fmt.Println()
	}
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	x = slices.Sorted(slices.Values(x))
	return (x[len(x)/2] + x[(len(x)-1)/2]) / 2
}
