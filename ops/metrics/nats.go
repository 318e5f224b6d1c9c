package metrics

import (
	"reflect"

	"github.com/prometheus/client_golang/prometheus"
)

var natsFamilies families

// natsFields are the fields of the Stats of hub/nats, by their names. examples/cluster has the test that none is missing.
var natsFields = map[string]*family{
	"Published":   natsFamilies.add("nats_published_total", "Publications that were handed to NATS, without those of histories."),
	"Delivered":   natsFamilies.add("nats_delivered_total", "Publications of NATS for a channel that is followed here."),
	"Passed":      natsFamilies.add("nats_passed_total", "Messages of a shard for channels that nobody follows here."),
	"Foreign":     natsFamilies.add("nats_foreign_total", "Messages on the subjects of the hub that are not of a hub."),
	"Lost":        natsFamilies.add("nats_lost_total", "Messages that this node was too slow for."),
	"Interrupted": natsFamilies.add("nats_interrupted_total", "Times that a channel, or all, had to be looked at because publications may have been lost."),
	"Disconnects": natsFamilies.add("nats_disconnects_total", "Times that the connection to NATS was lost."),
	"Channels":    natsFamilies.add("nats_channels", "Channels that are followed here."),
	"Shards":      natsFamilies.add("nats_shards", "Shards that this node has a NATS subscription for."),
	"Connected":   natsFamilies.add("nats_connected", "Whether there is a connection to NATS: 1 or 0."),

	"History.Appended":      natsFamilies.add("nats_history_appended_total", "Publications that a stream has acknowledged."),
	"History.Refused":       natsFamilies.add("nats_history_refused_total", "Calls that append to a history or remove it, and failed."),
	"History.Reads":         natsFamilies.add("nats_history_reads_total", "Reads of a history."),
	"History.Recovered":     natsFamilies.add("nats_history_recovered_total", "Reads from a position for which it was proven that nothing is missing."),
	"History.Unrecoverable": natsFamilies.add("nats_history_unrecoverable_total", "Reads from a position for which it was not."),
	"History.Compared":      natsFamilies.add("nats_history_compared_total", "Positions of channels that were compared with a stream."),
	"History.Missed":        natsFamilies.add("nats_history_missed_total", "Channels of which a publication had not come, which comparing found."),
	"History.Made":          natsFamilies.add("nats_history_streams_made_total", "Streams that this node has made."),

	"Nodes.Known":     natsFamilies.add("nats_nodes_known", "Other nodes that are known."),
	"Nodes.Asks":      natsFamilies.add("nats_nodes_asks_total", "Questions of this node to all nodes."),
	"Nodes.Answered":  natsFamilies.add("nats_nodes_answered_total", "Questions of other nodes that this node has answered."),
	"Nodes.Missing":   natsFamilies.add("nats_nodes_answers_missing_total", "Answers of other nodes that did not come in time."),
	"Nodes.Refused":   natsFamilies.add("nats_nodes_answers_refused_total", "Answers for which there was no room, here or at the node that was asked."),
	"Nodes.Conflicts": natsFamilies.add("nats_nodes_conflicts_total", "Signs of another living node with the name of this one."),
}

// collectNATS sends the fields that it knows.
func collectNATS(ch chan<- prometheus.Metric, stats any) {
	sendFields(ch, "", reflect.Indirect(reflect.ValueOf(stats)))
}

func sendFields(ch chan<- prometheus.Metric, prefix string, of reflect.Value) {
	if of.Kind() != reflect.Struct {
		return
	}
	for field, v := range of.Fields() {
		f := natsFields[prefix+field.Name]
		switch {
		case v.Kind() == reflect.Struct:
			sendFields(ch, field.Name+".", v)
		case f == nil:
		case v.CanInt():
			send(ch, f, v.Int())
		case v.CanUint():
			send(ch, f, v.Uint())
		case v.Kind() == reflect.Bool:
			send(ch, f, flag(v.Bool()))
		}
	}
}
