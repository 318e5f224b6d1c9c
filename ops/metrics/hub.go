package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sockmill/sockmill/hub"
)

var hubFamilies families

var (
	hubChannels      = hubFamilies.add("hub_channels", "Channels that clients of this node are in, or are joining.")
	hubClients       = hubFamilies.add("hub_clients", "Clients of this node: connections that the hub knows.")
	hubUsers         = hubFamilies.add("hub_users", "Users that have clients on this node.")
	hubSubscriptions = hubFamilies.add("hub_subscriptions", "Clients in channels: a client in three channels counts three times.")
	hubPresent       = hubFamilies.add("hub_presence_members", "Clients in channels that are entered in the presence.")

	hubJoins     = hubFamilies.add("hub_joins_total", "Joins of channels that have succeeded.")
	hubRecovered = hubFamilies.add("hub_recoveries_total", "Joins from a position, by result: recovered means that nothing is missing, lacking that something may be.", "result")
	hubCaughtUp  = hubFamilies.add("hub_recovered_publications_total", "Publications that clients were sent when they came back.")
	hubLost      = hubFamilies.add("hub_memberships_lost_total", "Clients that were taken out of a channel because they would have missed a publication.")
	hubCut       = hubFamilies.add("hub_clients_cut_total", "Connections that were closed with 3010 because they would have missed something.")

	hubPublished = hubFamilies.add("hub_publications_published_total", "Publications of this node that the broker took, without joins and leaves.")
	hubDelivered = hubFamilies.add("hub_publications_delivered_total", "Publications that the broker brought to this node, joins and leaves included.")
	hubSent      = hubFamilies.add("hub_publications_sent_total", "Publications that were given to connections, each counted once for each connection.")

	hubRunning = hubFamilies.add("hub_work_running", "Goroutines that do what the hub does by itself: orders to clients, ends of clients, reads of histories.", "work")
	hubWaiting = hubFamilies.add("hub_work_waiting", "What waits for such a goroutine.", "work")
	hubStalled = hubFamilies.add("hub_channels_stalled", "Channels that wait because their history cannot be read.")
	hubOwed    = hubFamilies.add("hub_subscriptions_owed", "Subscriptions that have ended, but of which the broker could not be told yet.")

	hubTrips      = hubFamilies.add("hub_broker_duration_seconds", "How long calls of the broker took, by operation.", "operation")
	hubTripErrors = hubFamilies.add("hub_broker_errors_total", "Calls of the broker that failed, by operation.", "operation")
	hubUp         = hubFamilies.add("hub_broker_up", "Whether the broker works: 1 if it does, or does not tell.")
)

func collectHub(ch chan<- prometheus.Metric, m *hub.Metrics) {
	send(ch, hubChannels, m.Channels)
	send(ch, hubClients, m.Clients)
	send(ch, hubUsers, m.Users)
	send(ch, hubSubscriptions, m.Subscriptions)
	send(ch, hubPresent, m.Present)
	send(ch, hubJoins, m.Joins)
	send(ch, hubRecovered, m.Recovered, "recovered")
	send(ch, hubRecovered, m.Lacking, "lacking")
	send(ch, hubCaughtUp, m.CaughtUp)
	send(ch, hubLost, m.Lost)
	send(ch, hubCut, m.Cut)
	send(ch, hubPublished, m.Published)
	send(ch, hubDelivered, m.Delivered)
	send(ch, hubSent, m.Sent)
	for _, w := range m.Work {
		send(ch, hubRunning, w.Running, w.Name)
		send(ch, hubWaiting, w.Waiting, w.Name)
	}
	send(ch, hubStalled, m.Stalled)
	send(ch, hubOwed, m.Owed)
	for i := range m.Trips {
		t := &m.Trips[i]
		sendOccurred(ch, hubTrips, &t.Latency, t.Operation)
		send(ch, hubTripErrors, t.Errors, t.Operation)
	}
	send(ch, hubUp, flag(m.BrokerHealth == nil))
}
