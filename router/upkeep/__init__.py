"""What has to be done from time to time: by cron over REST, or by a command."""
