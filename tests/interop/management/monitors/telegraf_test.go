package monitors

import "testing"

// What Telegraf's input plugin rabbitmq asks for, and the types that it reads the answers into.

type rate struct {
	Rate float64 `json:"rate"`
}

type messageStats struct {
	Ack              int64 `json:"ack"`
	AckDetails       rate  `json:"ack_details"`
	Deliver          int64 `json:"deliver"`
	DeliverDetails   rate  `json:"deliver_details"`
	DeliverGet       int64 `json:"deliver_get"`
	DeliverGetRate   rate  `json:"deliver_get_details"`
	Publish          int64 `json:"publish"`
	PublishDetails   rate  `json:"publish_details"`
	Redeliver        int64 `json:"redeliver"`
	RedeliverDetails rate  `json:"redeliver_details"`
	PublishIn        int64 `json:"publish_in"`
	PublishInRate    rate  `json:"publish_in_details"`
	PublishOut       int64 `json:"publish_out"`
	PublishOutRate   rate  `json:"publish_out_details"`
	Unroutable       int64 `json:"return_unroutable"`
	UnroutableRate   rate  `json:"return_unroutable_details"`
}

type queueTotals struct {
	Messages       int64 `json:"messages"`
	Ready          int64 `json:"messages_ready"`
	Unacknowledged int64 `json:"messages_unacknowledged"`
	Bytes          int64 `json:"message_bytes"`
	BytesReady     int64 `json:"message_bytes_ready"`
	BytesUnacked   int64 `json:"message_bytes_unacknowledged"`
	BytesRAM       int64 `json:"message_bytes_ram"`
	BytesPersisted int64 `json:"message_bytes_persistent"`
}

func TestTelegrafOverview(t *testing.T) {
	type overview struct {
		MessageStats *messageStats `json:"message_stats"`
		ObjectTotals *struct {
			Channels, Connections, Consumers, Exchanges, Queues int64
		} `json:"object_totals"`
		QueueTotals *queueTotals `json:"queue_totals"`
		Listeners   []struct {
			Protocol string `json:"protocol"`
		} `json:"listeners"`
	}
	// It takes one of them missing for a login that failed, so they are there before there is a message.
	seen := read[overview](t, "/overview")
	holds(t, "totals and stats are there", seen.QueueTotals != nil && seen.ObjectTotals != nil && seen.MessageStats != nil)
	before := seen.MessageStats.Publish
	queueOf(t, "%2F", "telegraf")
	publish(t, "%2F", "telegraf", 3)
	get(t, "%2F", "telegraf", 1)
	eventually(t, "what was published is counted", func() bool {
		seen = read[overview](t, "/overview")
		return seen.MessageStats.Publish >= before+3 && seen.MessageStats.DeliverGet > 0 && seen.QueueTotals.Messages == 2
	})
	equal(t, "queues", seen.ObjectTotals.Queues, 1)
	holds(t, "exchanges are counted", seen.ObjectTotals.Exchanges >= 7)
	protocols := map[string]bool{}
	for _, listener := range seen.Listeners {
		protocols[listener.Protocol] = true
	}
	holds(t, "a listener speaks amqp", protocols["amqp"])
}

func TestTelegrafNodes(t *testing.T) {
	type node struct {
		Name         string  `json:"name"`
		DiskFree     int64   `json:"disk_free"`
		DiskLimit    int64   `json:"disk_free_limit"`
		DiskAlarm    bool    `json:"disk_free_alarm"`
		FdTotal      int64   `json:"fd_total"`
		FdUsed       int64   `json:"fd_used"`
		MemLimit     int64   `json:"mem_limit"`
		MemUsed      int64   `json:"mem_used"`
		MemAlarm     bool    `json:"mem_alarm"`
		ProcTotal    int64   `json:"proc_total"`
		ProcUsed     int64   `json:"proc_used"`
		RunQueue     int64   `json:"run_queue"`
		SocketsTotal int64   `json:"sockets_total"`
		SocketsUsed  int64   `json:"sockets_used"`
		Running      bool    `json:"running"`
		Uptime       int64   `json:"uptime"`
		DiskTx       int64   `json:"mnesia_disk_tx_count"`
		DiskTxRate   rate    `json:"mnesia_disk_tx_count_details"`
		RAMTx        int64   `json:"mnesia_ram_tx_count"`
		RAMTxRate    rate    `json:"mnesia_ram_tx_count_details"`
		GcNum        int64   `json:"gc_num"`
		GcNumRate    rate    `json:"gc_num_details"`
		GcBytes      int64   `json:"gc_bytes_reclaimed"`
		GcBytesRate  rate    `json:"gc_bytes_reclaimed_details"`
		ReadTime     float64 `json:"io_read_avg_time"`
		ReadTimeRate rate    `json:"io_read_avg_time_details"`
		Read         int64   `json:"io_read_bytes"`
		ReadRate     rate    `json:"io_read_bytes_details"`
		WriteTime    float64 `json:"io_write_avg_time"`
		WriteRate    rate    `json:"io_write_avg_time_details"`
		Written      int64   `json:"io_write_bytes"`
		WrittenRate  rate    `json:"io_write_bytes_details"`
	}
	nodes := read[[]node](t, "/nodes")
	equal(t, "nodes", len(nodes), 1)
	seen := nodes[0]
	holds(t, "it runs", seen.Running && seen.Uptime > 0 && !seen.MemAlarm && !seen.DiskAlarm)
	holds(t, "files are counted", seen.FdTotal > seen.FdUsed && seen.FdUsed > 0)
	holds(t, "memory is measured", seen.MemLimit > seen.MemUsed && seen.MemUsed > 0)
	holds(t, "the disk is measured", seen.DiskFree > 0 && seen.DiskLimit > 0)

	// Each part has to be a whole number where it is there; the sum is a number, or an object with one of three names.
	answer := read[struct {
		Memory *struct {
			ConnectionReaders, ConnectionWriters, ConnectionChannels, ConnectionOther int64
			Total                                                                     any `json:"total"`
		} `json:"memory"`
	}](t, "/nodes/"+seen.Name+"/memory")
	holds(t, "memory is told", answer.Memory != nil)
	parts := read[struct {
		Memory map[string]any `json:"memory"`
	}](t, "/nodes/"+seen.Name+"/memory").Memory
	for name, part := range parts {
		if number, is := part.(float64); is {
			equal(t, name+" is whole", number, float64(int64(number)))
		}
	}
	switch total := answer.Memory.Total.(type) {
	case float64:
		holds(t, "the sum is measured", total > 0)
	case map[string]any:
		for _, name := range []string{"rss", "allocated", "erlang"} {
			if number, is := total[name].(float64); is && number > 0 {
				return
			}
		}
		t.Fatalf("none of the sums is known: %v", total)
	default:
		t.Fatalf("an unknown sum: %v", total)
	}
}

func TestTelegrafQueues(t *testing.T) {
	type queue struct {
		queueTotals
		Stats               messageStats `json:"message_stats"`
		Memory              int64        `json:"memory"`
		Consumers           int64        `json:"consumers"`
		ConsumerUtilisation float64      `json:"consumer_utilisation"`
		Name                string       `json:"name"`
		Node                string       `json:"node"`
		Vhost               string       `json:"vhost"`
		Type                string       `json:"type"`
		Durable             bool         `json:"durable"`
		AutoDelete          bool         `json:"auto_delete"`
		IdleSince           string       `json:"idle_since"`
		SlaveNodes          []string     `json:"slave_nodes"`
		SynchronisedNodes   []string     `json:"synchronised_slave_nodes"`
		HeadTimestamp       *int64       `json:"head_message_timestamp"`
	}
	queueOf(t, "%2F", "telegraf")
	queueOf(t, "rabbit%2Fhole", "telegraf.empty")
	publish(t, "%2F", "telegraf", 3)
	get(t, "%2F", "telegraf", 1)
	var seen map[string]queue
	eventually(t, "the queue's figures are there", func() bool {
		seen = map[string]queue{}
		for _, queue := range read[[]queue](t, "/queues") {
			seen[queue.Name] = queue
		}
		return seen["telegraf"].Stats.Publish == 3 && seen["telegraf"].Messages == 2
	})
	busy, idle := seen["telegraf"], seen["telegraf.empty"]
	equal(t, "vhost", idle.Vhost, "rabbit/hole")
	equal(t, "type", busy.Type, "classic")
	// Leveret tells no message_bytes of a queue, which Telegraf takes for 0.
	holds(t, "it is durable", busy.Durable && !busy.AutoDelete)
	equal(t, "gets", busy.Stats.DeliverGet, 1)
	holds(t, "it has a node", busy.Node != "")
}

func TestTelegrafExchanges(t *testing.T) {
	type exchange struct {
		Name       string       `json:"name"`
		Stats      messageStats `json:"message_stats"`
		Type       string       `json:"type"`
		Internal   bool         `json:"internal"`
		Vhost      string       `json:"vhost"`
		Durable    bool         `json:"durable"`
		AutoDelete bool         `json:"auto_delete"`
	}
	types := map[string]string{}
	for _, exchange := range read[[]exchange](t, "/exchanges") {
		if exchange.Vhost == "/" {
			types[exchange.Name] = exchange.Type
			holds(t, exchange.Name+" is durable", exchange.Durable && !exchange.AutoDelete)
		}
	}
	equal(t, "type of amq.topic", types["amq.topic"], "topic")
	equal(t, "type of the default exchange", types[""], "direct")
}

func TestTelegrafFederationLinks(t *testing.T) {
	type link struct {
		Type, Queue, Exchange, Vhost, Upstream string
	}
	equal(t, "links", len(read[[]link](t, "/federation-links")), 0)
}
