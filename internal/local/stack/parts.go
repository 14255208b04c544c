package stack

import "time"

// Parts returns all parts, each after those that it needs. The ports are the programs' usual ones, except where these
// are Darkroom's own (8080 and 8081) or another part's.
func Parts() []Part {
	return []Part{
		{
			Name: "kafka", Lib: "kafka", Conf: []string{"kafka"},
			Ports: []Port{{"kafka", 9092}, {"controller", 9093}},
			Setup: formatKafka, Command: runKafka, Ready: kafkaAnswers, Address: kafkaAddress,
			StopWithin: 30 * time.Second,
		},
		{
			Name: "cassandra", Lib: "cassandra", Conf: []string{"cassandra"},
			Ports:   []Port{{"cql", 9042}, {"storage", 7000}, {"jmx", 7199}},
			Command: runCassandra, Ready: cassandraAnswers,
			StartWithin: 3 * time.Minute, StopWithin: time.Minute,
		},
		{
			Name: "debezium", Lib: "debezium", Conf: []string{"cassandra", "debezium"},
			Needs:   []string{"kafka", "cassandra"},
			Ports:   []Port{{"http", 8083}},
			Before:  makeKeyspace,
			Command: runDebezium, Ready: debeziumAnswers,
			StopWithin: 20 * time.Second,
		},
		{
			Name: "flink-jobmanager", Lib: "flink", Conf: []string{"flink"},
			Ports:   []Port{{"rest", 8082}, {"rpc", 6123}, {"blob", 6124}},
			Command: runJobManager, Ready: jobManagerAnswers, Address: jobManagerAddress,
		},
		{
			Name: "flink-taskmanager", Lib: "flink", Conf: []string{"flink"},
			Needs:   []string{"flink-jobmanager"},
			Ports:   []Port{{"rpc", 6122}, {"data", 6121}},
			Command: runTaskManager, Ready: taskManagerAnswers,
			StartWithin: 2 * time.Minute, // the JobManager may wait for the one that was killed first
		},
		{
			Name: "flink-jobserver", Lib: "flink", Conf: []string{"flink", "jobserver"},
			Needs:   []string{"flink-jobmanager", "flink-taskmanager"},
			Ports:   []Port{{"job", 8099}},
			Command: runFlinkJobServer, Ready: jobServerListens,
		},
		{
			Name: "spark-master", Lib: "spark",
			Ports:   []Port{{"rpc", 7077}, {"web", 8084}},
			Command: runSparkMaster, Environ: sparkEnviron, Ready: sparkMasterAnswers,
		},
		{
			Name: "spark-worker", Lib: "spark",
			Needs:   []string{"spark-master"},
			Ports:   []Port{{"rpc", 7078}, {"web", 8085}},
			Command: runSparkWorker, Environ: sparkEnviron, Ready: sparkWorkerAnswers,
		},
		{
			Name: "spark-jobserver", Lib: "spark", Conf: []string{"jobserver"},
			Needs:   []string{"spark-master", "spark-worker"},
			Ports:   []Port{{"job", 8098}},
			Command: runSparkJobServer, Environ: sparkEnviron, Ready: jobServerListens,
		},
		{
			Name:    "postgres",
			Ports:   []Port{{"postgres", 5432}},
			Command: runOwn, Ready: postgresAnswers, Address: postgresAddress,
		},
		{
			Name:    "s3",
			Ports:   []Port{{"s3", 7070}},
			Command: runOwn, Ready: s3Answers, Address: s3Address,
		},
	}
}
